package store_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"otpost/internal/store"
)

// sizes of SQLite's write-ahead log: its header, and that of a frame before its page.
const (
	walHeader   = 32
	frameHeader = 24
	pageSize    = 4096
)

// TestWALCutOffKeepsWhatWasCommittedBefore takes the files of a database in use, as a power cut leaves
// them, and cuts the WAL or damages its end: what was committed before the damage is there, in full
// transactions, and nothing else.
func TestWALCutOffKeepsWhatWasCommittedBefore(t *testing.T) {
	t.Parallel()
	db := opened(t, t.TempDir())
	const writes = 30
	var ends []int // of the WAL after each transaction
	for i := range writes {
		err := db.Write(t.Context(), func(tx *store.Tx) error {
			put(tx, fmt.Sprintf("a%02d", i), "x")
			put(tx, fmt.Sprintf("b%02d", i), "x")
			return nil
		})
		info, statErr := os.Stat(db.Path() + "-wal")
		if err := errors.Join(err, statErr); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, int(info.Size()))
	}
	files := contents(t, filepath.Dir(db.Path()))
	wal := files["otpost.db-wal"]
	last := ends[writes-1]
	if len(wal) != last || ends[0] == last {
		t.Fatalf("the WAL has %d bytes, after the writes %v", len(wal), ends)
	}
	const frame = frameHeader + pageSize
	random := rand.New(rand.NewPCG(1, 2))
	for _, cut := range []int{0, walHeader, ends[3], ends[9] + 1, ends[20] - 1, last - frame, last - frame/2,
		last - 1, last} {
		for name, damaged := range map[string][]byte{
			"cut":    wal[:cut],
			"zeroes": append(bytes.Clone(wal[:cut]), make([]byte, last-cut)...),
			"noise":  append(bytes.Clone(wal[:cut]), noise(random, wal[cut:])...),
		} {
			want := 0 // transactions that end before the damage
			for _, end := range ends {
				if end <= cut {
					want++
				}
			}
			dir := t.TempDir()
			for file, content := range map[string][]byte{"otpost.db": files["otpost.db"], "otpost.db-wal": damaged} {
				if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			found := opened(t, dir)
			for i := range writes {
				for _, half := range "ab" {
					if got := value(t, found, fmt.Sprintf("%c%02d", half, i)) != ""; got != (i < want) {
						t.Errorf("%s at %d of %d: transaction %d of %d is there: %v", name, cut, last, i, want, got)
					}
				}
			}
			if err := found.Write(t.Context(), func(tx *store.Tx) error { put(tx, "afterwards", "x"); return nil }); err != nil {
				t.Errorf("%s at %d: %v", name, cut, err)
			}
		}
	}
}

// noise returns bytes of which each differs from the one in its place.
func noise(random *rand.Rand, from []byte) []byte {
	b := bytes.Clone(from)
	for i := range b {
		b[i] ^= byte(1 + random.IntN(255))
	}
	return b
}
