package redisq

import "time"

// OpenAt is Open with a clock of the test's in place of Redis' own.
func OpenAt(o Options, now func() time.Time) (*Driver, error) {
	d, err := Open(o)
	if err == nil {
		d.now = now
	}
	return d, err
}

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
