package storetest

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
)

// StatementsIn names the folder where the tests write the statements that they run, for test/plans. Its name is new
// in each run of scripts/test, so that go test takes no result of these packages from its cache.
const StatementsIn = "OTPOST_TEST_STATEMENTS"

// recorder writes each text once, as a line of JSON, to a file of this process.
type recorder struct {
	mu   sync.Mutex
	file *os.File
	seen map[string]bool
}

var process = sync.OnceValue(func() *recorder { //nolint:gochecknoglobals // one file for each process
	folder := os.Getenv(StatementsIn)
	if folder == "" {
		return nil
	}
	name := fmt.Sprintf("%s-%d", filepath.Base(os.Args[0]), os.Getpid())
	file, err := os.OpenFile(filepath.Join(folder, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	return &recorder{file: file, seen: make(map[string]bool)}
})

// Record returns the value of store.Options.Prepared for tests: where StatementsIn is set, it writes down what the
// program prepares, and leaves out what the tests ask for themselves.
func Record() func(query string) {
	r := process()
	if r == nil {
		return nil
	}
	return r.write
}

// ofTest reports whether a test has called the store.
func ofTest() bool {
	callers := make([]uintptr, 16)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	for {
		f, more := frames.Next()
		if !strings.HasPrefix(f.Function, "otpost/internal/store.") || !more {
			return strings.HasSuffix(f.File, "_test.go")
		}
	}
}

func (r *recorder) write(query string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[query] || ofTest() {
		return
	}
	r.seen[query] = true
	line, err := json.Marshal(query)
	if err == nil {
		_, err = r.file.Write(append(line, '\n'))
	}
	if err != nil {
		panic(err)
	}
}
