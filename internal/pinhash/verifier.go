package pinhash

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"sync"
	"time"
)

// Options of a Verifier. The zero value is usable.
type Options struct {
	Params    Params           // of new hashes
	Slots     *Slots           // default: as many as processors
	CacheOff  bool             // remember nothing
	CacheTTL  time.Duration    // how long a right plain text is remembered; default 10 minutes
	CacheSize int              // how many are; default 100 000 (about 20 MB)
	Now       func() time.Time // time.Now
	Rand      io.Reader        // of salts; default crypto/rand
}

// Verifier hashes and checks within its slots. What is right is remembered, if the caller asks for it by Turn.Match, under an
// HMAC-SHA-256 with a random key of the process over (stored hash, plain text): a changed hash forgets it, a memory dump
// without the key tells nothing, wrong plain texts are never kept. It is safe for concurrent use.
type Verifier struct {
	params Params
	slots  *Slots
	rand   io.Reader
	key    []byte
	cache  *recent[cacheKey]                      // nil: off
	verify func(hash, plain string) (bool, error) // Verify; tests count its calls

	mu      sync.Mutex
	flights map[cacheKey]*flight

	dummy func() (string, error)
}

type cacheKey [sha256.Size]byte

// flight is one running computation that others may wait for.
type flight struct {
	done  chan struct{} // closed when right and err are set
	right bool
	err   error
}

// New returns a Verifier with an empty cache.
func New(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Slots == nil {
		o.Slots = NewSlots(0, o.Now)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	v := &Verifier{params: o.Params, slots: o.Slots, rand: o.Rand, key: make([]byte, sha256.Size), verify: Verify,
		flights: make(map[cacheKey]*flight)}
	rand.Read(v.key) //nolint:errcheck // it never fails
	if !o.CacheOff {
		v.cache = newRecent[cacheKey](cmp.Or(o.CacheTTL, 10*time.Minute), cmp.Or(o.CacheSize, 100_000), o.Now)
	}
	v.dummy = sync.OnceValues(func() (string, error) { return v.params.Hash(v.rand, rand.Text()) })
	return v
}

// Hash returns the hash of plain under the Verifier's parameters, see Params.Hash. It waits for a slot (ErrBusy).
func (v *Verifier) Hash(ctx context.Context, peer, plain string) (string, error) {
	release, err := v.slots.Acquire(ctx, peer)
	if err != nil {
		return "", err
	}
	defer release(false)
	return v.params.Hash(v.rand, plain)
}

// Verify is Verify within a slot (ErrBusy). Nothing is remembered.
func (v *Verifier) Verify(ctx context.Context, peer, hash, plain string) (bool, error) {
	t := v.turn(peer)
	right, err := t.Verify(ctx, hash, plain)
	t.End(right)
	return right, err
}

// Dummy takes as long as Verify of plain against the stored hash like, and tells nothing. Where like is empty or cannot be
// checked it stands for a hash of the Verifier's own parameters. Its error is ErrBusy or the context's.
func (v *Verifier) Dummy(ctx context.Context, peer, like, plain string) error {
	t := v.turn(peer)
	defer t.End(false)
	return t.Dummy(ctx, like, plain)
}

// Guess is a stored hash and the plain texts that may be behind it, at most one of which can be right.
type Guess struct {
	Hash   string
	Plains []string
}

// Known reports whether each of the guesses is remembered, that is whether Match will need no computation for them.
func (v *Verifier) Known(guesses ...Guess) bool {
	for _, g := range guesses {
		if v.recall(g.Hash, g.Plains) < 0 {
			return false
		}
	}
	return true
}

// recall returns the index of the plain text that is remembered as right, or -1.
func (v *Verifier) recall(hash string, plains []string) int {
	if v.cache == nil {
		return -1
	}
	for i, plain := range plains {
		if v.cache.has(v.keyOf(hash, plain)) {
			return i
		}
	}
	return -1
}

func (v *Verifier) keyOf(hash, plain string) (key cacheKey) {
	mac := hmac.New(sha256.New, v.key)
	var length [8]byte
	binary.BigEndian.PutUint64(length[:], uint64(len(hash)))
	mac.Write(length[:])
	io.WriteString(mac, hash)  //nolint:errcheck // a hash never fails
	io.WriteString(mac, plain) //nolint:errcheck // as above
	mac.Sum(key[:0])
	return key
}
