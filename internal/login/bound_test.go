package login

import (
	"strconv"
	"testing"
	"time"
)

func TestMemoryOfWhatWasLoggedIsBounded(t *testing.T) {
	t.Parallel()
	var u unsent
	now := time.Now()
	for i := range 3 * mostUnsent {
		if !u.first(now, strconv.Itoa(i)) {
			t.Fatalf("%d was not logged", i)
		}
		if len(u.logged) > mostUnsent {
			t.Fatalf("%d are remembered", len(u.logged))
		}
	}
}
