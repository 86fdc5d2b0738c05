package store

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// ErrDamaged says that a row holds what it should never hold: a value of a wrong type, or a text that its reader
// cannot use. The file was damaged, or another program wrote it.
var ErrDamaged = errors.New("a row of the database cannot be read")

// mostDamages bounds the damage that is remembered because it was logged.
const mostDamages = 1000

// List is r.Query for lists, where one damaged row must not take the others down. scan reads what can be
// read, leaves the other destinations as they are, and returns an error that wraps ErrDamaged then. each
// goes on with what it has, or returns the error and thereby leaves the row out. Damage is logged once for
// the process, without the value.
func List(r Reader, each func(scan Scan) error, query string, args ...any) error {
	log, _ := r.(interface{ damaged() *damages })
	return r.Query(func(scan Scan) error {
		logged := false
		err := each(func(dest ...any) error {
			err := scan(dest...)
			if err == nil {
				return nil
			}
			key, columns, err := readable(scan, dest, err)
			if errors.Is(err, ErrDamaged) && log != nil {
				log.damaged().log(query, key, columns)
				logged = true
			}
			return err
		})
		if !errors.Is(err, ErrDamaged) {
			return err
		}
		if !logged && log != nil {
			log.damaged().log(query, keyOf(scan, query), nil)
		}
		return nil
	}, query, args...)
}

// firstRow reads the first row of a query for Get and closes rows. A damaged row is logged by the first argument of
// the query, which names it, and is an error that wraps ErrDamaged; what can be read is in the destinations then.
func (d *damages) firstRow(dest []any, rows *sql.Rows, query string, args []any) error {
	defer rows.Close()
	if !rows.Next() {
		return translate(cmp.Or(rows.Err(), sql.ErrNoRows))
	}
	if err := rows.Scan(dest...); err != nil {
		_, columns, err := readable(rows.Scan, dest, err)
		if errors.Is(err, ErrDamaged) {
			key := ""
			if len(args) > 0 {
				key = keyText(args[0])
			}
			d.log(query, key, columns)
		}
		return translate(err)
	}
	return translate(rows.Close())
}

// readable fills the destinations that can be filled, one by one, and returns the row's first column and the places
// of the others. err is what scan returned; it comes back when it has nothing to do with the values.
func readable(scan Scan, dest []any, err error) (key string, columns []int, _ error) {
	blank := make([]any, len(dest))
	for i := range blank {
		blank[i] = new(any)
	}
	if scan(blank...) != nil {
		return "", nil, err
	}
	key = keyText(*blank[0].(*any))
	for i := range dest {
		one := slices.Clone(blank)
		one[i] = dest[i]
		if scan(one...) != nil {
			columns = append(columns, i)
		}
	}
	return key, columns, fmt.Errorf("%w: column %d: %w", ErrDamaged, columns[0]+1, errType)
}

// errType stands for the driver's error, which holds the value: a value may be a secret.
var errType = errors.New("its value has a wrong type")

// keyOf returns the first column of the current row.
func keyOf(scan Scan, query string) string {
	blank := make([]any, len(names(query)))
	for i := range blank {
		blank[i] = new(any)
	}
	if len(blank) == 0 || scan(blank...) != nil {
		return ""
	}
	return keyText(*blank[0].(*any))
}

// keyText returns the key of a row for the log: the first column of each list is one.
func keyText(value any) string {
	switch v := value.(type) {
	case []byte:
		return fmt.Sprintf("%.64x", v)
	default:
		return fmt.Sprintf("%.64q", fmt.Sprint(v))
	}
}

var (
	selected = regexp.MustCompile(`(?is)^\s*SELECT\s+(?:DISTINCT\s+)?(.*?)\sFROM\s+(\w+)`)
	returned = regexp.MustCompile(`(?is)^\s*UPDATE\s+(\w+)\s.*\sRETURNING\s+(.*)$`)
)

// names returns the columns that a simple statement reads.
func names(query string) []string {
	_, list := tableOf(query)
	all := strings.Split(list, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// tableOf returns the table and the list of columns of a simple statement, for the log.
func tableOf(query string) (table, list string) {
	if m := selected.FindStringSubmatch(query); m != nil {
		return m[2], m[1]
	}
	if m := returned.FindStringSubmatch(query); m != nil {
		return m[1], m[2]
	}
	return "", ""
}

// repair says what to do about a damaged row.
func repair(table string) string {
	switch table {
	case "administrator":
		return "set the password of this administrator again with otpost admin password NAME"
	case "smtp_server":
		return "save the SMTP server again, or delete it"
	case "resolver":
		return "delete the resolver and define it again, or restore the row from a backup"
	case "token":
		return "delete the token and enrol it again, or restore the row from a backup"
	}
	return "restore it from a backup, or delete it"
}

// damages logs each damage once. It is safe for concurrent use.
type damages struct {
	to *slog.Logger

	mu   sync.Mutex
	seen map[string]struct{}
}

func newDamages(log *slog.Logger) *damages {
	return &damages{to: log, seen: make(map[string]struct{})}
}

func (d *damages) log(query, key string, columns []int) {
	table, _ := tableOf(query)
	all := names(query)
	var damaged []string
	for _, i := range columns {
		if i < len(all) {
			damaged = append(damaged, all[i])
		}
	}
	what := fmt.Sprint(table, key, damaged)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, ok := d.seen[what]; ok || len(d.seen) >= mostDamages {
		return
	}
	d.seen[what] = struct{}{}
	d.to.Error("a row of the database cannot be read: "+repair(table), "table", table, "row", key, "columns", damaged)
}
