package pinhash

import (
	"container/list"
	"sync"
	"time"
)

// recent is a set that forgets: a key is in it for ttl after it was put there, and the key unused for longest goes when there
// are more than size. It is safe for concurrent use.
type recent[K comparable] struct {
	ttl  time.Duration
	size int
	now  func() time.Time

	mu    sync.Mutex
	order *list.List // of remembered[K], the last used first
	keys  map[K]*list.Element
}

type remembered[K comparable] struct {
	key   K
	until time.Time
}

func newRecent[K comparable](ttl time.Duration, size int, now func() time.Time) *recent[K] {
	return &recent[K]{ttl: ttl, size: size, now: now, order: list.New(), keys: make(map[K]*list.Element)}
}

// put begins the time of key anew.
func (r *recent[K]) put(key K) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := remembered[K]{key, r.now().Add(r.ttl)}
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

func (r *recent[K]) has(key K) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.keys[key]
	if !ok {
		return false
	}
	if !r.now().Before(e.Value.(remembered[K]).until) {
		r.drop(e)
		return false
	}
	r.order.MoveToFront(e)
	return true
}

func (r *recent[K]) drop(e *list.Element) {
	delete(r.keys, e.Value.(remembered[K]).key)
	r.order.Remove(e)
}
