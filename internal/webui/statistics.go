package webui

import "time"

// statistics is what GET /delivery/statistics tells, as far as the pages show it.
type statistics struct {
	Minutes []minute
	Seconds struct {
		Count         int
		P50, P95, P99 float64
	}
	Open struct {
		Waiting int
		Oldest  *time.Time
	}
	Servers  map[string]serverStatistics
	Failures []struct {
		Reason, Server string
		Count          int
		Phase          string // of the last attempt of the newest of them, and what it met; empty: none was made
		Code           int
		Text           string
	}
}

// minute is how many messages ended in a minute, by outcome.
type minute struct {
	Minute                                      time.Time
	Accepted, Failed, Expired, Dropped, Unknown int
}

// serverStatistics is how the messages of a server ended in the last day.
type serverStatistics struct {
	Accepted, Failed int
	Last             *lastResult
}

// lastResult is how the last message of a server ended, and the reply to its last attempt.
type lastResult struct {
	State     string
	At        time.Time
	Code      int
	Text      string
	Diagnosis string
}

// Words returns the reply for a sentence.
func (l lastResult) Words() string { return words(l.Code, l.Text) }

// statistics asks for them; they are empty for who may not see them.
func (v *visit) statistics() (s statistics, err error) {
	if v.session.may("delivery_read") {
		err = v.get("/delivery/statistics", nil, &s)
	}
	return s, err
}
