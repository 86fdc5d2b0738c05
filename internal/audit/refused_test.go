package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"otpost/internal/store/storetest"
)

// A client without a password cannot make the journal grow at the speed of its requests.
func TestRefusedRequestsOfStrangersAreBounded(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	db := storetest.Open(t, clock.Now)
	j := New(db)
	refuse := func(network string, n int) (written int) {
		for i := range n {
			ok, err := j.Refused(t.Context(), network, Entry{Action: "POST /validate/check",
				Login:  fmt.Sprint("nobody", i),
				Client: network})
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				written++
			}
		}
		return written
	}
	if n := refuse("192.0.2.1", 500); n != mostOfNetwork {
		t.Errorf("%d rows of one network, want %d", n, mostOfNetwork)
	}
	all := mostOfNetwork
	for i := range 2 * mostOfNetworks {
		all += refuse(fmt.Sprintf("2001:db8:0:%x::/64", i), 1)
	}
	if all != mostOfNetworks {
		t.Errorf("%d rows of all networks, want %d", all, mostOfNetworks)
	}
	if n := count(t, db, `1 = 1`); n != all {
		t.Errorf("%d rows within the minute, want %d", n, all)
	}
	clock.Advance(time.Minute)
	if err := j.RecordLeftOut(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `action = 'refused requests left out' AND client = '192.0.2.1' AND info LIKE '470 %'`); n !=
		1 {
		t.Errorf("%d rows say that 470 requests were left out", n)
	}
	if n := count(t, db, `action = 'refused requests left out' AND client = '' AND info LIKE '150 %'`); n != 1 {
		t.Errorf("%d rows say that 150 requests of further networks were left out", n)
	}
	if err := j.RecordLeftOut(t.Context()); err != nil || count(t, db, `1 = 1`) != all+2 {
		t.Errorf("%d rows, %v: it is told once", count(t, db, `1 = 1`), err)
	}
	if n := refuse("192.0.2.1", 1); n != 1 {
		t.Error("the next minute has no row")
	}
	clock.Advance(-time.Hour)
	if n := refuse("192.0.2.1", mostOfNetwork); n != mostOfNetwork {
		t.Errorf("%d rows after the clock was set back, want %d", n, mostOfNetwork)
	}
}

// The next request tells what was left out, where no housekeeping does.
func TestLeftOutRequestsAreToldWithTheNextOne(t *testing.T) {
	t.Parallel()
	clock := storetest.NewClock()
	db := storetest.Open(t, clock.Now)
	j := New(db)
	for range mostOfNetwork + 2 {
		if _, err := j.Refused(t.Context(), "192.0.2.1", Entry{Action: "x"}); err != nil {
			t.Fatal(err)
		}
	}
	clock.Advance(time.Minute)
	if _, err := j.Refused(t.Context(), "192.0.2.2", Entry{Action: "x"}); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db, `client = '192.0.2.1' AND info LIKE '2 refused requests%'`); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
	if strings.Contains(leftOut(clock.Now(), "", 1).Info, "this network") {
		t.Error("further networks are told as one")
	}
}
