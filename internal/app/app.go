// Package app wires the packages into one program and runs its parts.
//
// Open takes the resources (key file, database, queue), Serve answers requests, Work does the jobs,
// Setup makes a new installation. Tests start the same values. No other package knows how the
// packages fit together.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"otpost/internal/access"
	"otpost/internal/audit"
	"otpost/internal/challenge"
	"otpost/internal/config"
	"otpost/internal/delivery"
	"otpost/internal/dial"
	"otpost/internal/fileroot"
	"otpost/internal/httpapi"
	"otpost/internal/login"
	"otpost/internal/mail"
	"otpost/internal/pinhash"
	"otpost/internal/queue"
	"otpost/internal/secret"
	"otpost/internal/store"
	"otpost/internal/system"
	"otpost/internal/token"
	"otpost/internal/user"
	"otpost/internal/user/fileuser"
	"otpost/internal/webui"
)

// Version is this program's version; the REST API's envelope and `otpost version` show it.
const Version = "0.1.0"

// queueLog is the beginning of the names of workers' logs in their working directory.
const queueLog = "privacyidea-queue.log"

// Options are what Open needs.
type Options struct {
	Config   *config.Config
	BasePath string       // path below which clients see the server; empty: the root
	Migrate  bool         // bring the schema up to date, or make the database
	Log      *slog.Logger // of the process
	QueueLog *slog.Logger // of the outcomes of queued messages; nil: Log
	Notify   *Notifier    // for the service manager; nil: none
	LogHangs func() bool  // reports whether a log hangs; nil: none
}

// App is the program, wired. It is safe for concurrent use. It has a field for each part, hence their number.
type App struct {
	Administrators *access.Administrators // for `otpost admin`

	config     *config.Config
	log        *slog.Logger
	queueLog   *slog.Logger
	db         *store.DB
	otherKeys  bool // PI_ENCFILE is not the key file with which this database was made
	dialer     *dial.Dialer
	driver     queue.Driver // nil: no queue
	closeQueue func() error // before the database; nil: no queue
	queueAt    string       // the place of the queue, for display
	settings   *system.Settings
	servers    *mail.Servers
	delivery   *delivery.Service
	journal    *audit.Journal
	guard      *access.Guard // of /auth
	proxies    *proxies
	page       *webui.Site
	handler    http.Handler // of all paths
	health     health       // what the service manager gets
}

// transactionsTwice is the environment variable by which the tests of the built program set store.Options.Twice.
const transactionsTwice = "OTPOST_TEST_TRANSACTIONS_TWICE"

// Open opens the resources of the configuration. On an error nothing stays open.
func Open(ctx context.Context, o Options) (*App, error) {
	if o.QueueLog == nil {
		o.QueueLog = o.Log
	}
	storeLog := o.Log
	o.Log, o.QueueLog = withoutUnusable(o.Log), withoutUnusable(o.QueueLog)
	keys, err := readKeys(o.Config)
	if err != nil {
		return nil, err
	}
	db, err := store.Open(ctx, store.Options{
		Path:    o.Config.DatabaseURI.Path,
		Migrate: o.Migrate,
		Log:     storeLog,
		Twice:   os.Getenv(transactionsTwice) != "",
	})
	if err != nil {
		return nil, err
	}
	a := &App{
		config:   o.Config,
		log:      o.Log,
		queueLog: o.QueueLog,
		db:       db,
		health:   health{notify: o.Notify, heartbeat: heartbeat{begun: time.Now()}},
	}
	a.checkKeys(ctx, keys)
	if err := a.openQueue(ctx); err != nil {
		a.Close() //nolint:errcheck // err is returned
		return nil, err
	}
	if err := a.wire(ctx, keys, o); err != nil {
		a.Close() //nolint:errcheck // err is returned
		return nil, err
	}
	return a, nil
}

// Close releases the locks of the queue and closes the database, after Serve and Work have
// returned.
func (a *App) Close() error {
	var err error
	if a.closeQueue != nil {
		err = a.closeQueue()
	}
	return errors.Join(err, a.db.Close())
}

// readKeys reads PI_ENCFILE.
func readKeys(c *config.Config) (*secret.Keys, error) {
	if c.EncFile == "" {
		return nil, fmt.Errorf("%s: PI_ENCFILE is not set: it names the file with the keys, which otpost setup makes",
			c.Source)
	}
	if err := config.CheckKeyFile(c.EncFile); err != nil {
		return nil, c.AboutEncFile(err)
	}
	raw, err := os.ReadFile(c.EncFile)
	if err != nil {
		return nil, c.AboutEncFile(err)
	}
	keys, err := secret.NewKeys(raw)
	if err != nil {
		return nil, c.AboutEncFile(err)
	}
	return keys, nil
}

// checkKeys logs when the key file is not the one of this database. The program runs nevertheless,
// because only sealed values are lost.
func (a *App) checkKeys(ctx context.Context, keys *secret.Keys) {
	same, err := a.db.SameKeys(ctx, keys.Fingerprint())
	if err != nil { // for example on a full disk, which the store logs
		a.log.Warn("key file not compared with the database", "err", err)
		return
	}
	if a.otherKeys = !same; a.otherKeys {
		a.log.Error(fmt.Sprintf("the key file %s is not the one this database was made with: addresses and passwords "+
			"cannot be read; "+
			"put the old key file back", a.config.EncFile))
	}
}

// wire makes the services, lowest first; each gets only what it needs.
func (a *App) wire(ctx context.Context, keys *secret.Keys, o Options) error {
	if err := freeOf(o.BasePath); err != nil {
		return err
	}
	c := a.config
	files := fileroot.New(fileroot.Options{
		Roots:     c.FileRoots,
		Base:      baseFolder(c),
		Deny:      a.ownFiles(),
		DenyNames: []string{queueLog},
		Streams:   []*os.File{os.Stdout, os.Stderr},
	})
	a.dialer = dial.New(dial.Options{Refuse: a.isQueue(ctx)})
	passwords := pinhash.New(pinhash.Options{Params: pinhash.FromPasslib(nil, c.HashParams), CacheOff: !c.PINCache})
	settings := system.New(a.db, keys)
	a.settings = settings
	users := user.New(a.db, user.Options{Verifier: passwords, Types: map[string]user.Type{
		"passwdresolver": fileuser.New(fileuser.Options{Files: files, Verifier: passwords, Now: a.db.Now, Log: a.log}),
	}})
	a.servers = mail.NewServers(a.db, keys, files.ReadFile)
	sender := mail.NewSender(mail.SenderOptions{
		Dial:     a.dialer.DialContext,
		Lookup:   a.dialer.Lookup,
		ReadFile: files.ReadFile,
		Log:      a.log,
		Refused:  func(err error) bool { return errors.Is(err, dial.ErrRefused) },
	})
	a.delivery = delivery.New(delivery.Options{
		DB:        a.db,
		Keys:      keys,
		Channels:  delivery.Channels{delivery.Mail: delivery.NewMail(a.servers, sender)},
		Driver:    a.driver,
		Log:       a.log,
		Queue:     a.queueLog,
		Fallback:  delivery.Fallback(c.QueueFallback),
		Keep:      keep(c.DeliveryKeep),
		OnOutcome: func(tx *store.Tx, o delivery.Outcome) error { return login.FollowOutcome(tx, a.db.Now(), o) },
	})
	tokens := token.New(token.Options{
		DB:           a.db,
		Keys:         keys,
		Settings:     settings,
		Users:        users,
		PINs:         passwords,
		Deliveries:   a.delivery,
		ValidAddress: validAddress,
		Log:          a.log,
	})
	a.Administrators = access.NewAdministrators(a.db, peppered{passwords, c.Pepper})
	a.journal = audit.New(a.db)
	a.guard = access.NewGuard(a.db)
	api := httpapi.New(httpapi.Deps{
		Login: login.New(login.Options{
			DB:         a.db,
			Users:      users,
			Tokens:     tokens,
			Deliveries: a.delivery,
			Log:        a.log,
		}),
		Tokens:         tokens,
		Users:          users,
		Servers:        a.servers,
		Delivery:       a.delivery,
		Settings:       settings,
		Queue:          a.driver,
		Administrators: a.Administrators,
		Guard:          a.guard,
		Journal:        a.journal,
		Sessions: access.NewSessions(a.db, access.Options{Key: secret.Text(c.SecretKey.Reveal()),
			SuperuserRealms: c.SuperuserRealms}),
		Unanswered: func(ctx context.Context, transaction string) ([]challenge.Challenge, error) {
			return challenge.Unanswered(ctx, a.db, transaction)
		},
		Challenges: func(ctx context.Context, f challenge.Filter) (challenge.Page, error) {
			return challenge.List(ctx, a.db, f)
		},
	}, httpapi.Options{
		Version:    Version,
		Node:       c.Node,
		NodeID:     a.db.Instance().ID,
		QueueName:  c.QueueName,
		QueuePlace: a.queueAt,
		StartOne:   a.workerCommand(),
		Now:        a.db.Now,
		Log:        a.log,
		Check:      a.db.Check,
		Trouble:    a.db.Trouble,
		LogHangs:   o.LogHangs,
		OtherKeys:  a.otherKeys,
	})
	a.proxies = newProxies(settings, a.log)
	page, err := webui.New(httpapi.Quiet(api), webui.Options{
		Version: Version,
		Base:    o.BasePath,
		Now:     a.db.Now,
		Log:     a.log,
		Network: networkOf(a.proxies.names),
	})
	a.page, a.handler = page, below(o.BasePath, route(page, api))
	return err
}

// keep returns a setting's time in delivery's form, where 0 is the default.
func keep(setting time.Duration) time.Duration {
	if setting == 0 {
		return -1 // for ever
	}
	return setting
}

// route returns the handler of all paths: those of the pages, and REST for all others. REST
// requests bypass the pages, whose own calls of the API leave no rows in the journal.
func route(page, api http.Handler) http.Handler {
	all := http.NewServeMux()
	all.Handle("GET /{$}", page)
	all.Handle("/ui/", page)
	all.Handle("GET /favicon.ico", page)
	all.Handle("/", api)
	return all
}

// validAddress is the rule for the addresses of tokens.
func validAddress(address string) error {
	_, err := mail.ParseAddress(address)
	return err
}

// baseFolder is the folder of relative file names: that of pi.cfg.
func baseFolder(c *config.Config) string {
	if len(c.Files) == 0 {
		return ""
	}
	return filepath.Dir(c.Files[0])
}

// ownFiles are the files that REST must never name.
func (a *App) ownFiles() []string {
	c := a.config
	return append([]string{c.DatabaseURI.Path, c.EncFile, c.LogFile, c.QueueLogFile}, c.Files...)
}
