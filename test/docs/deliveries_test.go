package docs

import "testing"

func TestDeliveriesAreShownRetriedAndCancelled(t *testing.T) { runPage(t, "docs/deliveries.md") }
