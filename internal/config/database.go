package config

import "strings"

// Kind is the sort of a database.
type Kind string

// The kinds that a DatabaseURI can name. Load refuses Postgres, which has no package yet.
const (
	SQLite   Kind = "sqlite"
	Postgres Kind = "postgres"
)

const sqliteExample = "'sqlite:////var/lib/otpost/otpost.db' (four slashes for an absolute path)"

// DatabaseURI is a database URI of SQLAlchemy in its parts.
type DatabaseURI struct {
	Kind Kind
	Path string // of SQLite's file, as it was written: relative paths count from the working directory
	URI  Secret // the whole text; it may contain a password
}

// parseDatabaseURI reads SQLAlchemy's form dialect[+driver]://... ("Database URLs" in its manual).
// The driver is ignored. An error is a problem.
func parseDatabaseURI(raw string) (DatabaseURI, error) {
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok {
		return DatabaseURI{}, problem{"is not a database URI", "write " + sqliteExample}
	}
	dialect, _, _ := strings.Cut(strings.ToLower(scheme), "+")
	u := DatabaseURI{URI: NewSecret([]byte(raw))}
	switch dialect {
	case "sqlite":
		u.Kind = SQLite
	case "postgresql", "postgres":
		return DatabaseURI{}, problem{"PostgreSQL is not supported yet", "write " + sqliteExample}
	case "mysql", "mariadb":
		return DatabaseURI{}, problem{"MySQL and MariaDB are not supported",
			"set OTPOST_DATABASE_URI = " + sqliteExample}
	default:
		return DatabaseURI{}, problem{"names no database that otpost knows", "write " + sqliteExample}
	}
	u.Path, ok = strings.CutPrefix(rest, "/")
	switch {
	case !ok && rest != "":
		return DatabaseURI{}, problem{"has too few slashes", "write " + sqliteExample}
	case u.Path == "" || u.Path == ":memory:":
		return DatabaseURI{}, problem{"names no file: a database in memory would forget its tokens",
			"write " + sqliteExample}
	case strings.Contains(u.Path, "?"):
		return DatabaseURI{}, problem{"has parameters behind a ?, which otpost does not know", "remove them"}
	}
	return u, nil
}
