package store

import (
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
)

//go:embed migrations/sqlite/*.sql
var migrations embed.FS

// dsn returns the driver's address of a database file: WAL, a bounded page cache, a WAL that is cut to 8 MiB when
// SQLite starts it anew, and more pragmas.
func dsn(path string, pragmas ...string) string {
	q := url.Values{"_pragma": append([]string{
		"busy_timeout(5000)", "journal_mode(WAL)", "cache_size(-8000)", "journal_size_limit(8388608)",
	}, pragmas...)}
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + q.Encode()
}

// networkFileSystem names a file system on which SQLite's locks do not hold, by its magic number of statfs; else empty.
func networkFileSystem(magic uint32) string {
	switch magic {
	case unix.NFS_SUPER_MAGIC:
		return "NFS"
	case unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC:
		return "SMB"
	case unix.CIFS_SUPER_MAGIC:
		return "CIFS"
	case unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC:
		return "AFS"
	}
	return ""
}

// checkFile refuses a file of another user, on a network file system, or that is missing and not to be made.
func checkFile(path string, create bool) error {
	var st unix.Statfs_t
	if err := unix.Statfs(filepath.Dir(path), &st); err != nil {
		return fmt.Errorf("database %s: folder: %w", path, err)
	}
	if name := networkFileSystem(uint32(st.Type)); name != "" {
		return fmt.Errorf("database %s lies on a network file system (%s), where SQLite's locks do not hold: move it to a local disk", path, name)
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("database %s does not exist: bring it back from your backup; otpost setup, or otpost serve "+
			"--migrate, makes an empty one for a new installation", path)
	case err != nil:
		return fmt.Errorf("database: %w", err)
	}
	var file unix.Stat_t
	if err := unix.Stat(path, &file); err != nil {
		return fmt.Errorf("database %s: %w", path, err)
	}
	if uid := os.Geteuid(); int(file.Uid) != uid {
		return fmt.Errorf("database %s belongs to uid %d and this process runs as uid %d: run it as the owner", path, file.Uid, uid)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("database %s is not a regular file", path)
	}
	return nil
}

// checkWritable refuses a database that this process may not write, or beside which it may create no files, as SQLite
// must. Without it the first login would find out. The file must be a database of otpost.
func checkWritable(path string) error {
	err := unix.Faccessat(unix.AT_FDCWD, path, unix.W_OK, unix.AT_EACCESS)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w for this user (uid %d): chmod u+w %s", translate(err), os.Geteuid(), path)
	}
	folder := filepath.Dir(path)
	probe, err := os.CreateTemp(folder, filepath.Base(path)+"-probe-*")
	if err = translate(err); errors.Is(err, ErrReadOnly) { // a full disk says so in use, and passes
		return fmt.Errorf("%w for this user (uid %d), who may make no files beside it: chmod u+wx %s", ErrReadOnly, os.Geteuid(), folder)
	}
	if err != nil {
		return nil
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// migrate checks that the database is otpost's and that its schema fits, and brings it up to date where it may.
func migrate(ctx context.Context, o Options) error {
	fresh, err := checkOurs(ctx, o.Path)
	if errors.Is(err, ErrReadOnly) || errors.Is(err, errCannotOpen) { // not even to be read, without its side files
		err = cmp.Or(checkWritable(o.Path), err)
	}
	if err != nil {
		return err
	} else if fresh && !o.Migrate {
		return fmt.Errorf("%w: it is empty; run otpost setup, or otpost serve --migrate", ErrSchema)
	}
	if err := checkWritable(o.Path); err != nil {
		return err
	}
	if o.Migrate { // one process at a time
		lock, err := openLock(o.Path)
		if err != nil {
			return err
		}
		defer lock.close()
		if err := lock.take(longestMigration); err != nil {
			return err
		}
	}
	db, err := sql.Open("sqlite", dsn(o.Path, "synchronous(FULL)"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	sub, err := fs.Sub(migrations, "migrations/sqlite")
	if err != nil {
		return err
	}
	goose, err := goose.NewProvider(goose.DialectSQLite3, db, sub)
	if err != nil {
		return fmt.Errorf("read migrations: %w", err)
	}
	if o.Migrate {
		if err := apply(ctx, o, goose, db); err != nil {
			return err
		}
	}
	return checkRange(ctx, goose, db)
}

// apply brings the schema up to date. A process that died half-way left whole steps behind, and perhaps no instance.
func apply(ctx context.Context, o Options, provider *goose.Provider, db *sql.DB) error {
	results, err := provider.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate: %w", translate(err))
	}
	for _, r := range results {
		o.Log.Info("migrated the database", "step", filepath.Base(r.Source.Path), "took_ms", r.Duration.Milliseconds())
	}
	id := make([]byte, 8)
	rand.Read(id)
	host, err := os.Hostname()
	if err != nil {
		return fmt.Errorf("name this host: %w", err)
	}
	_, err = db.ExecContext(ctx, `INSERT INTO instance (id, host, created_ms, generation, oldest_program)
		SELECT $1, $2, $3, 1, $4 WHERE NOT EXISTS (SELECT 1 FROM instance)`, hex.EncodeToString(id), host, Millis(o.Now()), Program)
	return translate(err)
}

// checkOurs reports whether the file is empty, and refuses a file with foreign tables. It does not write: not even the
// journal mode of a foreign database may change.
func checkOurs(ctx context.Context, path string) (fresh bool, err error) {
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		return true, nil
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro&_pragma=busy_timeout(5000)")
	if err != nil {
		return false, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_master WHERE type = 'table'`)
	if err != nil {
		return false, translate(err)
	}
	defer rows.Close()
	tables := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return false, err
		}
		tables[strings.ToLower(name)] = true
	}
	if err := rows.Err(); err != nil {
		return false, translate(err)
	}
	switch {
	case tables["pidea_audit"] || tables["tokenrealm"] || tables["tokeninfo"]:
		return false, fmt.Errorf("%w but privacyIDEA's, which otpost never writes: name another one in OTPOST_DATABASE_URI, so that one pi.cfg serves both", ErrForeign)
	case tables["instance"] && tables["delivery"]:
		return false, nil
	}
	delete(tables, "goose_db_version") // all there is when a first migration was killed
	delete(tables, "sqlite_sequence")
	if len(tables) > 0 {
		return false, ErrForeign
	}
	return true, nil
}

// checkRange refuses a schema that is older than the program's, or newer and closed to it.
func checkRange(ctx context.Context, provider *goose.Provider, db *sql.DB) error {
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", translate(err))
	}
	if current < target {
		return fmt.Errorf("%w: it is at step %d of %d; run otpost setup, or otpost serve --migrate", ErrSchema, current, target)
	}
	var oldest int64
	err = translate(db.QueryRowContext(ctx, `SELECT oldest_program FROM instance`).Scan(&oldest))
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: its setup was broken off; run otpost setup, or otpost serve --migrate", ErrSchema)
	}
	if err != nil {
		return fmt.Errorf("read the schema's range: %w", err)
	}
	if oldest > Program {
		return fmt.Errorf("%w: it was made by a newer otpost; install that version", ErrSchema)
	}
	return nil
}
