package mail

import (
	"context"
	"errors"
	"fmt"

	"otpost/internal/fault"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Censored replaces a stored secret in a form; a form that sends it back keeps the secret.
const Censored = "__CENSORED__"

// Servers keeps the definitions of mail servers. It is safe for concurrent use.
type Servers struct {
	db      *store.DB
	keys    *secret.Keys
	signers *signers
}

// NewServers returns the servers of a database, their passwords sealed with keys; it does no I/O.
// readFile opens the files of S/MIME when a server is checked; nil: none is opened.
func NewServers(db *store.DB, keys *secret.Keys, readFile func(name string) ([]byte, error)) *Servers {
	return &Servers{db: db, keys: keys, signers: newSigners(readFile)}
}

// List returns all servers by identifier, without their secrets; never nil.
func (s *Servers) List(ctx context.Context) ([]Server, error) {
	all := []Server{}
	err := s.db.Read(ctx, func(r store.Reader) error {
		return store.List(r, func(scan store.Scan) error {
			one, err := read(scan)
			if err != nil && !errors.Is(err, store.ErrDamaged) {
				return err
			}
			all = append(all, one.Server)
			return nil
		}, selectAll+` ORDER BY identifier`)
	})
	if err != nil {
		return nil, fmt.Errorf("list SMTP servers: %w", err)
	}
	return all, nil
}

// Route is what the outbox asks of a server: no secret, and nothing that needs a connection.
type Route struct {
	EnqueueJob   bool
	SenderDomain string
	Damage       error // wraps store.ErrDamaged: the row cannot be read; nil: it can
}

// Route returns the route of a definition.
func (s Server) Route() Route { return Route{EnqueueJob: s.EnqueueJob, SenderDomain: s.SenderDomain()} }

// Routes returns the routes of all servers, by their identifiers. It opens no secret.
func (s *Servers) Routes(r store.Reader) (map[string]Route, error) {
	all := make(map[string]Route)
	err := store.List(r, func(scan store.Scan) error {
		one, err := read(scan)
		if err != nil && !errors.Is(err, store.ErrDamaged) {
			return err
		}
		route := one.Server.Route()
		route.Damage = err
		all[one.Identifier] = route
		return nil
	}, selectAll)
	if err != nil {
		return nil, fmt.Errorf("read the routes of SMTP servers: %w", err)
	}
	return all, nil
}

// Server returns a server with its opened secrets, for sending. The error wraps store.ErrNotFound
// for an unknown identifier, store.ErrDamaged when its row cannot be read, and secret.ErrSealed
// when a secret does not open: another key file, or a row whose target was changed behind our back.
// The latter comes with the server, without that secret.
func (s *Servers) Server(ctx context.Context, identifier string) (Server, error) {
	one, err := s.record(ctx, identifier)
	if err != nil {
		return Server{}, fmt.Errorf("SMTP server %q: %w", identifier, err)
	}
	if err = s.openPassword(&one); err == nil {
		err = s.openKeyPassword(&one)
	}
	if err != nil {
		err = fmt.Errorf("SMTP server %q: %w", identifier, err)
	}
	return one.Server, err
}

// Definition is a server as an administrator sees it, without its secrets.
type Definition struct {
	Server                   // its secrets are Censored where one is stored
	Revision    int64        // another after each change
	Certificate *Certificate // that mails are signed with; nil: none is named
}

// Definition returns one server. Fault 601: unknown identifier.
func (s *Servers) Definition(ctx context.Context, identifier string) (Definition, error) {
	one, err := s.record(ctx, identifier)
	if isNotFound(err) {
		return Definition{}, unknownServer()
	}
	// the readable parts are shown, so that the server can be saved again
	if err != nil && !errors.Is(err, store.ErrDamaged) {
		return Definition{}, fmt.Errorf("SMTP server %q: %w", identifier, err)
	}
	d := Definition{Server: one.Server, Revision: one.revision} // without the opened secrets
	if one.password != nil {
		d.Password = Censored
	}
	if one.keyPassword != nil {
		d.PrivateKeyPassword = Censored
	}
	unopened := s.openKeyPassword(&one)
	if d.Certificate = s.signers.certificate(one.Server, s.db.Now()); d.Certificate != nil && unopened != nil {
		d.Certificate.Problem = asFinding(unopened)
	}
	return d, nil
}

// sealedElsewhere is the advice for a secret that does not open.
const sealedElsewhere = "the stored one does not open: it was saved with another key file (PI_ENCFILE). Put that key " +
	"file back; if it is lost, type it again and save the server"

// Save makes or replaces the server of this identifier; a port or time-out of 0 is the default. The
// value Censored keeps a stored secret as long as its target is unchanged: for the password server,
// port, user name, TLS and verification, for the key's password the key file. cleared reports that
// a stored password was removed because its target changed and no new one was given. An unusable
// definition is a fault.Error 905.
func (s *Servers) Save(ctx context.Context, server Server) (cleared bool, err error) {
	saved, err := s.Change(ctx, Change{Server: server})
	return saved.Cleared, err
}

// Change is a definition to save, with its conditions.
type Change struct {
	Server Server
	// Revision is the revision on which the change is based; 0: the server must not exist; nil: the
	// last change wins, as recorded.
	Revision *int64
	// Strict refuses definitions that the original accepts and that cannot work: an S/MIME key that
	// cannot sign (otherwise a warning), a server without a sender, an identifier with characters
	// besides letters, digits, dot, hyphen and underscore.
	Strict bool
}

// Saved is the result of a Change.
type Saved struct {
	Revision int64
	Cleared  bool       // a stored password was removed because its target changed
	Warnings []*Finding // about S/MIME and the port; empty: nothing
}

// Change is Save with conditions. Fault 4009: the server was changed meanwhile.
func (s *Servers) Change(ctx context.Context, c Change) (Saved, error) {
	server, err := check(c.Server)
	if err != nil {
		return Saved{}, err
	}
	var saved Saved
	if saved.Warnings, err = s.checkSigning(ctx, server, c.Strict); err != nil {
		return Saved{}, err
	}
	if f := otherPort(server); f != nil {
		saved.Warnings = append(saved.Warnings, f)
	}
	fresh := s.seal(server)
	err = s.db.Write(ctx, func(tx *store.Tx) error {
		tx.RaiseGeneration()
		old, err := get(tx, server.Identifier)
		if err != nil && !isNotFound(err) && !errors.Is(err, store.ErrDamaged) { // saving repairs it
			return err
		}
		if err := mayReplace(old, c); err != nil {
			return err
		}
		one := fresh
		if server.Password == Censored && old.Target() == server.Target() {
			one.password = old.password
		}
		if server.PrivateKeyPassword == Censored && old.PrivateKey == server.PrivateKey {
			one.keyPassword = old.keyPassword
		}
		put(tx, one)
		saved.Cleared = old.password != nil && one.password == nil && old.Target() != server.Target()
		return tx.Get([]any{&saved.Revision}, `SELECT generation FROM instance`)
	})
	if err != nil {
		return Saved{}, fmt.Errorf("save SMTP server %q: %w", server.Identifier, err)
	}
	return saved, nil
}

// mayReplace checks the conditions of a change; old is empty when the server does not exist.
func mayReplace(old record, c Change) error {
	exists := old.Identifier != ""
	if c.Strict && !exists {
		if err := checkNewIdentifier(c.Server.Identifier); err != nil {
			return err
		}
	}
	switch {
	case c.Revision == nil, *c.Revision == old.revision:
		return nil
	case *c.Revision == 0:
		return fault.New(fault.Conflict, "server_exists", "An SMTP server with this identifier exists already.")
	case !exists:
		return fault.New(fault.Conflict, "server_deleted",
			"The server was deleted by another administrator meanwhile. Save it under a new identifier, or "+
				"create it again.")
	}
	return fault.New(fault.Conflict, "server_changed",
		"The server was changed by another administrator meanwhile. Load it again, and enter your changes once more.")
}

// checkSigning returns findings about the S/MIME files of a server; strict: files that cannot sign
// are refused.
func (s *Servers) checkSigning(ctx context.Context, server Server, strict bool) ([]*Finding, error) {
	if strict && server.Sender == "" {
		return nil, fault.Missing("sender")
	}
	if !server.SMIME {
		return nil, nil
	}
	if server.PrivateKeyPassword == Censored {
		old, err := s.record(ctx, server.Identifier)
		if err != nil && !isNotFound(err) && !errors.Is(err, store.ErrDamaged) {
			return nil, fmt.Errorf("SMTP server %q: %w", server.Identifier, err)
		}
		server.PrivateKeyPassword = ""
		if old.PrivateKey == server.PrivateKey && s.openKeyPassword(&old) == nil {
			server.PrivateKeyPassword = old.PrivateKeyPassword
		}
	}
	problems, warnings := s.signers.check(server, s.db.Now())
	if strict && len(problems) > 0 {
		return nil, problems[0].fault()
	}
	return append(problems, warnings...), nil
}

func (s *Servers) record(ctx context.Context, identifier string) (record, error) {
	var one record
	err := s.db.Read(ctx, func(r store.Reader) (err error) {
		one, err = get(r, identifier)
		return err
	})
	return one, err
}

// Delete removes a server. Fault 601: unknown identifier (recorded: smtpserver.json, "delete
// unknown").
func (s *Servers) Delete(ctx context.Context, identifier string) error {
	var found bool
	err := s.db.Write(ctx, func(tx *store.Tx) (err error) {
		found, err = tx.Changed(`DELETE FROM smtp_server WHERE identifier = $1 RETURNING identifier`, identifier)
		if found {
			tx.RaiseGeneration()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("delete SMTP server %q: %w", identifier, err)
	}
	if !found {
		return unknownServer()
	}
	return nil
}

// unknownServer is recorded in smtpserver.json, "delete unknown".
func unknownServer() error {
	return fault.New(fault.NotFound, "no_server", "The requested SMTPServer could not be found.")
}

// Complete returns a form's definition for a test mail: checked, and with the stored secrets
// instead of Censored ones. A stored secret is used only for the target for which it was typed. For
// another target, or when no secret is stored under the form's identifier, a fault.Error 905 asks
// to type it again.
func (s *Servers) Complete(ctx context.Context, form Server) (Server, error) {
	form, err := check(form)
	if err != nil {
		return Server{}, err
	}
	if form.Password != Censored && form.PrivateKeyPassword != Censored {
		return form, nil
	}
	stored, err := s.record(ctx, form.Identifier)
	if err != nil && !isNotFound(err) {
		return Server{}, err
	}
	if form.Password == Censored {
		if isNotFound(err) || stored.Target() != form.Target() {
			return Server{}, fault.Wrong("password", "password_again",
				"type it again; the stored one is used only for the saved server, port, username, tls and tls_verify")
		}
		if err := s.openPassword(&stored); err != nil {
			return Server{}, asFinding(err).fault().Because(err)
		}
		form.Password = stored.Password
	}
	if form.PrivateKeyPassword == Censored {
		if isNotFound(err) || stored.PrivateKey != form.PrivateKey {
			return Server{}, fault.Wrong("private_key_password", "key_password_again",
				"type it again; the stored one is used only for the saved private_key")
		}
		if err := s.openKeyPassword(&stored); err != nil {
			return Server{}, asFinding(err).fault().Because(err)
		}
		form.PrivateKeyPassword = stored.PrivateKeyPassword
	}
	return form, nil
}

// seal returns the record of a server. Secrets that are empty, or Censored until the old record is
// known, are not stored.
func (s *Servers) seal(server Server) record {
	one := record{Server: server}
	if p := server.Password; p != "" && p != Censored {
		one.password = s.keys.Seal(secret.SMTP, passwordPlace(server), []byte(p.Reveal()))
	}
	if p := server.PrivateKeyPassword; p != "" && p != Censored {
		one.keyPassword = s.keys.Seal(secret.SMTP, keyPasswordPlace(server), []byte(p.Reveal()))
	}
	return one
}

// openPassword opens the stored password into the server. An error wraps a *Finding and
// secret.ErrSealed.
func (s *Servers) openPassword(one *record) error {
	if one.password == nil {
		return nil
	}
	plain, err := s.keys.Open(secret.SMTP, passwordPlace(one.Server), one.password)
	if err != nil {
		return fmt.Errorf("%w: %w", found("password", "sealed_elsewhere", sealedElsewhere), err)
	}
	one.Password = secret.Text(plain)
	return nil
}

// openKeyPassword is openPassword for the key's password.
func (s *Servers) openKeyPassword(one *record) error {
	if one.keyPassword == nil {
		return nil
	}
	plain, err := s.keys.Open(secret.SMTP, keyPasswordPlace(one.Server), one.keyPassword)
	if err != nil {
		return fmt.Errorf("%w: %w", found("private_key_password", "sealed_elsewhere", sealedElsewhere), err)
	}
	one.PrivateKeyPassword = secret.Text(plain)
	return nil
}

func passwordPlace(s Server) secret.Context {
	return secret.Place("smtp_server", "password", s.Identifier, s.Target())
}

func keyPasswordPlace(s Server) secret.Context {
	return secret.Place("smtp_server", "private_key_password", s.Identifier, s.PrivateKey)
}
