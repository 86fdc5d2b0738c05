package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"otpost/internal/config"
	"otpost/internal/secret"
)

// Password is secret.Text under a name for cli, which passes it to Administrators and Setup.
type Password = secret.Text

// systemState is the folder of the database for a configuration in the system's folder: /etc is not
// for state.
const systemState = "/var/lib/otpost"

// SetupOptions are the options of Setup.
type SetupOptions struct {
	Dir string // folder of pi.cfg and the key file; made when it is missing
	// folder of the database; empty: Dir/state, and /var/lib/otpost beside /etc/privacyidea
	State    string
	Admin    string                   // name of the first administrator
	Password func() (Password, error) // the administrator's; called once, and only without an existing administrator
	Queue    config.QueueClass
	QueueURL Password     // of Redis; empty: the default
	Env      []string     // NAME=value pairs, which an existing pi.cfg may read
	Log      *slog.Logger // discards
}

// Installed is the result of Setup.
type Installed struct {
	Config string            // the pi.cfg, an absolute path
	Queue  config.QueueClass // of the configuration
	Things []Thing
	Notes  []string // sentences about parts that were left unchanged
}

// Thing is a part of an installation.
type Thing struct {
	What, Where string
	Made        bool // by this call; else it existed
}

// setup is one run of Setup.
type setup struct {
	SetupOptions
	configFile, keyFile, database string
	locks                         []*os.File // folders that this run has locked
	made                          []made     // files and folders of this run, in order
	report                        Installed
}

// Setup makes a new installation, or completes one. It changes no existing file. On an error it
// removes everything that it has made, and nothing else. It is refused while another Setup runs in
// its folders. It opens the database for writing, so it must run as the server's user.
func Setup(ctx context.Context, o SetupOptions) (Installed, error) {
	s := &setup{SetupOptions: o}
	if s.Log == nil {
		s.Log = slog.New(slog.DiscardHandler)
	}
	defer s.unlock()
	err := s.locate()
	if err == nil {
		err = s.lock(s.Dir)
	}
	if err == nil {
		err = s.adopt()
	}
	if err == nil {
		err = s.run(ctx)
	}
	if err != nil {
		s.undo()
		return Installed{}, err
	}
	return s.report, nil
}

// locate sets the places of new files.
func (s *setup) locate() (err error) {
	if s.Dir, err = filepath.Abs(s.Dir); err != nil {
		return err
	}
	if s.State == "" {
		s.State = filepath.Join(s.Dir, "state")
		if s.Dir == filepath.Dir(config.DefaultFile) {
			s.State = systemState
		}
	}
	s.configFile = filepath.Join(s.Dir, filepath.Base(config.DefaultFile))
	s.keyFile = filepath.Join(s.Dir, "enckey")
	s.database = filepath.Join(s.State, "otpost.db")
	s.report.Config = s.configFile
	return nil
}

// adopt takes the places from an existing pi.cfg.
func (s *setup) adopt() error {
	if !exists(s.configFile) {
		return nil
	}
	c, err := config.Load(config.Options{File: s.configFile, Env: s.Env})
	if err != nil {
		return err
	}
	s.keyFile, s.database = c.EncFile, c.DatabaseURI.Path
	if s.Queue != config.NoQueue && c.QueueClass != s.Queue {
		s.note("%s stays as it is: to turn the queue on, write PI_JOB_QUEUE_CLASS = '%s' into it", s.configFile,
			s.Queue)
	}
	return nil
}

// run makes the missing parts. The configuration comes before the database: an administrator's
// password is valid only with the pepper of its hash.
func (s *setup) run(ctx context.Context) error {
	haveConfig, haveKey, haveDatabase := exists(s.configFile), exists(s.keyFile), exists(s.database)
	switch {
	case haveDatabase && !haveKey:
		return fmt.Errorf("the database %s is there and its key file %s is not: bring it back from your backup, a "+
			"new one would not open what is stored", s.database, s.keyFile)
	case haveDatabase && !haveConfig:
		return fmt.Errorf("the database %s is there and its configuration %s is not: bring it back from your backup, "+
			"for PI_PEPPER in it belongs to the passwords", s.database, s.configFile)
	}
	var password Password
	if !haveDatabase { // before the first file is made
		var err error
		if password, err = s.Password(); err != nil {
			return err
		}
	}
	if err := s.files(haveConfig, haveKey); err != nil {
		return err
	}
	if err := s.lock(filepath.Dir(s.database)); err != nil {
		return err
	}
	if !haveDatabase {
		if err := s.emptyDatabase(); err != nil {
			return err
		}
	}
	return s.fill(ctx, password, !haveDatabase)
}

// files makes key file and configuration.
func (s *setup) files(haveConfig, haveKey bool) error {
	for _, folder := range []string{s.Dir, filepath.Dir(s.keyFile)} {
		if err := s.folder(folder); err != nil {
			return err
		}
	}
	if !haveKey {
		if err := s.write(s.keyFile, secret.NewKeyFile(), 0o400, nil); err != nil {
			return err
		}
	}
	s.thing("keys", s.keyFile, !haveKey)
	if !haveConfig {
		text, err := s.piCfg()
		if err != nil {
			return err
		}
		if err := s.write(s.configFile, text, 0o640, s.loads); err != nil {
			return err
		}
	}
	s.thing("configuration", s.configFile, !haveConfig)
	return nil
}

// loads returns why a file is not a usable configuration.
func (s *setup) loads(file string) error {
	_, err := config.Load(config.Options{File: file, Env: s.Env})
	return err
}

// fill brings the database up to date and makes the first administrator.
func (s *setup) fill(ctx context.Context, password Password, fresh bool) error {
	c, err := config.Load(config.Options{File: s.configFile, Env: s.Env})
	if err != nil {
		return err
	}
	s.report.Queue = c.QueueClass
	a, err := Open(ctx, Options{Config: c, Migrate: true, Log: s.Log})
	if err != nil {
		return err
	}
	err = s.administrator(ctx, a, password, fresh)
	return errors.Join(err, a.Close())
}

func (s *setup) administrator(ctx context.Context, a *App, password Password, fresh bool) error {
	s.thing("database", s.database, fresh)
	known, err := a.Administrators.List(ctx)
	if err != nil {
		return err
	}
	for _, k := range known {
		s.thing("administrator", k.Name, false)
	}
	if len(known) > 0 {
		return nil
	}
	if !fresh {
		if password, err = s.Password(); err != nil {
			return err
		}
	}
	if err := a.Administrators.Add(ctx, s.Admin, "", password); err != nil {
		return err
	}
	s.thing("administrator", s.Admin, true)
	return nil
}

func (s *setup) thing(what, where string, made bool) {
	s.report.Things = append(s.report.Things, Thing{what, where, made})
}

func (s *setup) note(format string, args ...any) {
	s.report.Notes = append(s.report.Notes, fmt.Sprintf(format, args...))
}

// exists reports whether a file has this name. A dangling link counts, because setup must not
// replace it.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
