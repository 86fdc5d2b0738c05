package redisq

import (
	"context"
	"time"
)

// OpenAt is Open with a clock of the test's in place of Redis' own.
func OpenAt(o Options, now func() time.Time) (*Driver, error) {
	d, err := Open(o)
	if err == nil {
		d.now, d.redisNow = now, now
	}
	return d, err
}

// OpenApart is OpenAt with a clock of Redis' that is skew ahead of now.
func OpenApart(o Options, now func() time.Time, skew time.Duration) (*Driver, error) {
	d, err := OpenAt(o, now)
	if err == nil {
		d.redisNow = func() time.Time { return now().Add(skew) }
	}
	return d, err
}

// How many jobs without a payload wait for calls at most, and how many are under way.
const (
	MostWaiting  = mostWaiting * mostJobs
	MostInFlight = flights * mostJobs
)

// WaitingJobs is how many jobs wait for a call.
func (d *Driver) WaitingJobs() (n int) {
	d.adding.mu.Lock()
	defer d.adding.mu.Unlock()
	for _, b := range d.adding.waiting {
		n += len(b.jobs)
	}
	return n
}

// CallsUnderWay is how many calls that add jobs wait for Redis.
func (d *Driver) CallsUnderWay() int {
	d.adding.mu.Lock()
	defer d.adding.mu.Unlock()
	return d.adding.flying
}

// Recheck makes the next call read the settings of the server again.
func (d *Driver) Recheck() {
	d.line.mu.Lock()
	defer d.line.mu.Unlock()
	d.line.checked = time.Time{}
}

// CheckNow checks the server.
func (d *Driver) CheckNow(ctx context.Context) error {
	client, err := d.client(ctx)
	if err != nil {
		return err
	}
	return d.check(client)
}

// MostLines is how many lines there are at most.
const MostLines = mostLines

// MostDead is how many dead letters are kept.
const MostDead = mostDead

// ParseURL makes a URL into a connection, of which it returns what can be seen.
func ParseURL(url string) (l Location, err error) {
	t, err := parseURL(url)
	if err != nil {
		return l, err
	}
	o := t.option
	l = Location{
		Address: t.address, DB: o.SelectDB, User: o.Username, Password: o.Password, Warnings: t.warnings, CallTime: t.callTime,
		DialTime: o.Dialer.Timeout, Socket: t.unix, Client: o.ClientName,
	}
	if c := o.TLSConfig; c != nil {
		l.TLS, l.MinVersion, l.ServerName = true, c.MinVersion, c.ServerName
		l.Chain = !c.InsecureSkipVerify || c.VerifyConnection != nil
		l.Name = !c.InsecureSkipVerify
	}
	return l, nil
}

// Location is what can be seen of a connection.
type Location struct {
	Address, User, Password, Client, ServerName string
	DB                                          int
	Socket, TLS                                 bool
	Chain, Name                                 bool // of the certificate are verified
	MinVersion                                  uint16
	CallTime, DialTime                          time.Duration
	Warnings                                    []string
}

// Pack packs names and values as the argument of a script.
func Pack(f ...any) string { return string(fields(f).pack(nil)) }
