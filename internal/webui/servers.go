package webui

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// server is an SMTP server as GET /smtpserver/ tells it. It has as many fields as the form.
type server struct {
	Identifier string
	Revision   int64
	Server     string
	Port       int
	Username   string
	Password   string
	Sender     string
	TLS        bool
	TLSVerify  bool   `json:"tls_verify"`
	CAFile     string `json:"ca_file"`
	EHLOName   string `json:"ehlo_name"`
	Timeout    int
	Queue      bool `json:"enqueue_job"`

	Description        string
	SMIME              bool
	DontSendOnError    bool `json:"dont_send_on_error"`
	Certificate        string
	PrivateKey         string `json:"private_key"`
	PrivateKeyPassword string `json:"private_key_password"`
	SMIMECertificate   *struct {
		Subject, Issuer, Error string
		NotAfter               string `json:"not_after"`
		Emails                 []string
	} `json:"smime_certificate"`
}

// Address returns server:port, as the original's list shows it. A URL without a port gets the one that is dialled
// (mail.Server.Endpoint).
func (s server) Address() string {
	port := cmp.Or(s.Port, 25)
	if u, err := url.Parse(s.Server); err == nil && u.Host != "" {
		if u.Port() != "" {
			return s.Server
		}
		if s.Implicit() && port == 25 {
			port = 465
		}
	}
	return fmt.Sprintf("%s:%d", strings.TrimSuffix(s.Server, "/"), port)
}

// Implicit reports whether TLS begins with the connection.
func (s server) Implicit() bool { return strings.HasPrefix(strings.ToLower(s.Server), "smtps://") }

// serverRow is a line of the list.
type serverRow struct {
	server
	serverStatistics
	ForCodes bool // the codes of e-mail tokens leave by it
}

// serversPage is the data of the list.
type serversPage struct {
	Servers []serverRow
	NoCodes string // why no server sends the codes of e-mail tokens; '': one does
	Note    string // about the queue, where a server uses it
}

// servers lists the SMTP servers.
func (v *visit) servers() error {
	all, err := v.allServers()
	if err != nil {
		return err
	}
	statistics, err := v.statistics()
	if err != nil {
		return err
	}
	forCodes, err := v.serverForCodes()
	if err != nil {
		return err
	}
	p := serversPage{NoCodes: v.noCodes(all, forCodes)}
	for _, s := range all {
		p.Servers = append(p.Servers, serverRow{server: s, serverStatistics: statistics.Servers[s.Identifier], ForCodes: s.Identifier == forCodes})
	}
	if usesQueue(all) {
		q, err := v.queue()
		if err != nil {
			return err
		}
		p.Note = v.note(q)
	}
	v.show(http.StatusOK, "servers", p)
	return nil
}

// usesQueue reports whether a server sends from the job queue.
func usesQueue(servers []server) bool {
	return slices.ContainsFunc(servers, func(s server) bool { return s.Queue })
}

// allServers returns the SMTP servers by identifier; none for who may not see them.
func (v *visit) allServers() ([]server, error) {
	if !v.session.may("smtpserver_read") {
		return nil, nil
	}
	var found map[string]server
	if err := v.get("/smtpserver/", nil, &found); err != nil {
		return nil, err
	}
	all := make([]server, 0, len(found))
	for name, s := range found {
		s.Identifier = name
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b server) int { return strings.Compare(a.Identifier, b.Identifier) })
	return all, nil
}

// deleteServer deletes an SMTP server. The setting that names it for the codes would name nothing, and is deleted too.
func (v *visit) deleteServer() error {
	identifier := v.r.PathValue("identifier")
	if _, err := v.call(http.MethodDelete, pathTo("smtpserver", identifier), url.Values{}); err != nil {
		return err
	}
	had, err := v.freeCodes(identifier)
	switch {
	case err != nil:
		return err
	case had:
		return v.redirect("/ui/servers", "server_deleted_codes")
	}
	return v.redirect("/ui/servers", "server_deleted")
}
