package delivery_test

import (
	"fmt"
	"testing"

	"otpost/internal/delivery"
)

// TestReasonsAreShownInWords: a log line and a table show words; the value that REST and the database keep stays.
func TestReasonsAreShownInWords(t *testing.T) {
	t.Parallel()
	for reason, want := range map[delivery.Reason]string{
		delivery.OneTry: "inside a request there is one try", delivery.Poison: "poisoned", delivery.NoTryLeft: "no try left before its end",
	} {
		if got := fmt.Sprint(reason); got != want {
			t.Errorf("%q is shown as %q, want %q", string(reason), got, want)
		}
	}
}
