package cli

import (
	"errors"
	"fmt"
	"net"
	"syscall"

	"otpost/internal/app"
	"otpost/internal/config"
)

// listenFlags are the address of the server and the access to it.
type listenFlags struct {
	Listen      string  `default:"127.0.0.1:8080" placeholder:"HOST:PORT" help:"Address of the page and the REST API. Other than loopback it needs --tls-cert and --tls-key, or --behind-proxy."`
	TLSCert     string  `name:"tls-cert" placeholder:"FILE" help:"Serve HTTPS with this certificate: PEM, followed by its chain. SIGHUP reads it again."`
	TLSKey      string  `name:"tls-key" placeholder:"FILE" help:"Its key: PEM, not readable by other users."`
	BasePath    *string `placeholder:"PATH" help:"Path below which a proxy shows this server, such as /pi: the links, redirects and cookies of the pages begin with it. Requests may come with it or without it. Default: OTPOST_BASE_PATH of pi.cfg, else the root."`
	BehindProxy bool    `help:"A proxy before this server speaks TLS with the clients: plain HTTP is served off loopback, too. No header is trusted by itself: the setting OverrideAuthorizationClient lists the proxies that may name their client."`
}

// check refuses contradictory flags before any file is opened.
func (f listenFlags) check() error {
	host, _, err := net.SplitHostPort(f.Listen)
	if err != nil {
		return usageError(fmt.Sprintf("--listen %s: want HOST:PORT", f.Listen))
	}
	ip := net.ParseIP(host)
	if f.BasePath != nil {
		if _, err := config.CheckBasePath(*f.BasePath); err != nil {
			return usageError(fmt.Sprintf("--base-path %s: %v", *f.BasePath, err))
		}
	}
	loopback := host == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case f.TLSCert != "" && f.TLSKey == "":
		return usageError("--tls-cert needs --tls-key, the file with the certificate's key")
	case f.TLSKey != "" && f.TLSCert == "":
		return usageError("--tls-key needs --tls-cert, the file with the key's certificate")
	case f.TLSCert != "" && f.BehindProxy:
		return usageError("--behind-proxy is for plain HTTP: leave it out beside --tls-cert, which works " +
			"behind a proxy, too")
	case f.TLSCert == "" && !f.BehindProxy && !loopback:
		return usageError(fmt.Sprintf("--listen %s: plain HTTP is served on loopback only: give --tls-cert and "+
			"--tls-key, or --behind-proxy when a proxy speaks TLS with the clients", f.Listen))
	}
	return nil
}

// basePath returns the base path of the flag, or else of the configuration.
func (f listenFlags) basePath(cfg *config.Config) string {
	if f.BasePath == nil {
		return cfg.BasePath
	}
	path, _ := config.CheckBasePath(*f.BasePath) // check has refused other paths
	return path
}

// certificate reads the pair of files; nil without flags.
func (f listenFlags) certificate() (*app.Certificate, error) {
	if f.TLSCert == "" {
		return nil, nil //nolint:nilnil // plain HTTP
	}
	return app.OpenCertificate(f.TLSCert, f.TLSKey)
}

// open opens the server's socket.
func (f listenFlags) open(c *app.Certificate) (app.Listener, error) {
	l, err := net.Listen("tcp", f.Listen)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return app.Listener{}, fmt.Errorf("--listen %s: another program listens there", f.Listen)
	case errors.Is(err, syscall.EACCES):
		return app.Listener{}, fmt.Errorf("--listen %s: this user may not take a port below 1024: give it the "+
			"capability CAP_NET_BIND_SERVICE, as otpost.service does", f.Listen)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return app.Listener{}, fmt.Errorf("--listen %s: this host does not have that address", f.Listen)
	case err != nil:
		return app.Listener{}, fmt.Errorf("--listen %s: %w", f.Listen, err)
	}
	return app.Listener{Listener: l, Certificate: c, Proxied: f.BehindProxy}, nil
}
