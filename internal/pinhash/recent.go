package pinhash

import (
	"container/list"
	"sync"
	"time"
)

// recent is a map that forgets: an entry is in it for ttl after it was put there, and the one unused for longest goes when there
// are more than size. It is safe for concurrent use.
type recent[K comparable, V any] struct {
	ttl  time.Duration
	size int
	now  func() time.Time

	mu    sync.Mutex
	order *list.List // of remembered[K, V], the last used first
	keys  map[K]*list.Element
}

type remembered[K comparable, V any] struct {
	key   K
	value V
	until time.Time
}

func newRecent[K comparable, V any](ttl time.Duration, size int, now func() time.Time) *recent[K, V] {
	return &recent[K, V]{ttl: ttl, size: size, now: now, order: list.New(), keys: make(map[K]*list.Element)}
}

// put begins the time of key anew.
func (r *recent[K, V]) put(key K, value V) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := remembered[K, V]{key, value, r.now().Add(r.ttl)}
	if e, ok := r.keys[key]; ok {
		e.Value = entry
		r.order.MoveToFront(e)
		return
	}
	r.keys[key] = r.order.PushFront(entry)
	if r.order.Len() > r.size {
		r.drop(r.order.Back())
	}
}

func (r *recent[K, V]) get(key K) (value V, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.keys[key]
	if !ok {
		return value, false
	}
	entry := e.Value.(remembered[K, V])
	if !r.now().Before(entry.until) {
		r.drop(e)
		return value, false
	}
	r.order.MoveToFront(e)
	return entry.value, true
}

func (r *recent[K, V]) has(key K) bool {
	_, ok := r.get(key)
	return ok
}

func (r *recent[K, V]) drop(e *list.Element) {
	delete(r.keys, e.Value.(remembered[K, V]).key)
	r.order.Remove(e)
}
