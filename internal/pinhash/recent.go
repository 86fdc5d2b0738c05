package pinhash

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// recent is a map with a limited size whose entries expire: ttl after an entry was put, and the
// least recently used entry when there are more than size. It is safe for concurrent use. (The
// library's own package expirable reads the clock of the system and keeps a goroutine for ever.)
type recent[K comparable, V any] struct {
	ttl     time.Duration
	now     func() time.Time
	entries *lru.Cache[K, expiring[V]]
}

type expiring[V any] struct {
	value V
	until time.Time
}

func newRecent[K comparable, V any](ttl time.Duration, size int, now func() time.Time) *recent[K, V] {
	entries, err := lru.New[K, expiring[V]](size)
	if err != nil {
		panic(err) // a size below 1
	}
	return &recent[K, V]{ttl: ttl, now: now, entries: entries}
}

// put begins the time of key anew.
func (r *recent[K, V]) put(key K, value V) {
	r.entries.Add(key, expiring[V]{value, r.now().Add(r.ttl)})
}

func (r *recent[K, V]) get(key K) (value V, ok bool) {
	e, ok := r.entries.Get(key)
	if ok && !r.now().Before(e.until) {
		r.entries.Remove(key)
		return value, false
	}
	return e.value, ok
}

func (r *recent[K, V]) has(key K) bool {
	_, ok := r.get(key)
	return ok
}
