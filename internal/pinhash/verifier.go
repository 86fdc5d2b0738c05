package pinhash

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// Options of a Verifier. The zero value is usable.
type Options struct {
	Params    Params           // of new hashes
	Slots     *Slots           // default: as many as processors
	Wait      time.Duration    // the longest wait for one of the default Slots; default 2 s
	CacheOff  bool             // remember nothing
	CacheTTL  time.Duration    // how long a right plain text is cached; default 10 minutes
	CacheSize int              // how many are cached; default 100 000 (about 20 MB)
	Now       func() time.Time // time.Now
	Rand      io.Reader        // of salts; default crypto/rand
}

// Verifier hashes and checks within its slots. Permit.Match caches right plain texts: under a mark
// of the stored hash, it keeps a mark of hash and plain text, each an HMAC-SHA-256 with a random
// key of the process. So a changed hash is not in the cache, and a memory dump without the key
// reveals nothing. Wrong plain texts are never cached. While a hash is cached, right and wrong
// plain texts are told apart at the same small cost: otherwise a refusal while all slots are busy
// would reveal that a guess is wrong. It is safe for concurrent use.
type Verifier struct {
	params Params
	slots  *Slots
	rand   io.Reader
	key    []byte
	cache  *recent[mark, mark]                    // mark of a hash -> mark of hash and plain text; nil: off
	verify func(hash, plain string) (bool, error) // Verify; tests count its calls

	computations singleflight.Group // by the mark of hash and plain text

	dummy func() (string, error)
}

// mark replaces texts that must not stay in memory.
type mark [sha256.Size]byte

// New returns a Verifier with an empty cache.
func New(o Options) *Verifier {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Slots == nil {
		o.Slots = NewSlots(0, o.Now)
		o.Slots.wait = cmp.Or(o.Wait, maxWait)
	}
	if o.Rand == nil {
		o.Rand = rand.Reader
	}
	v := &Verifier{
		params: o.Params,
		slots:  o.Slots,
		rand:   o.Rand,
		key:    make([]byte, sha256.Size),
		verify: Verify,
	}
	rand.Read(v.key) //nolint:errcheck // it never fails
	if !o.CacheOff {
		v.cache = newRecent[mark, mark](cmp.Or(o.CacheTTL, 10*time.Minute), cmp.Or(o.CacheSize, 100_000), o.Now)
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

// Verify is the function Verify within a slot (ErrBusy), without the cache.
func (v *Verifier) Verify(ctx context.Context, peer, hash, plain string) (bool, error) {
	t := v.permit(peer)
	right, err := t.Verify(ctx, hash, plain)
	t.End(right)
	return right, err
}

// Dummy takes as long as Verify of plain against the stored hash like, and has no result. If like
// is empty or cannot be checked, it takes as long as a hash of the Verifier's parameters. Its error
// is ErrBusy or the context's.
func (v *Verifier) Dummy(ctx context.Context, peer, like, plain string) error {
	t := v.permit(peer)
	defer t.End(false)
	return t.Dummy(ctx, like, plain)
}

// Known reports whether the cache has the plain text of each of the hashes, so that Match needs no
// computation for any plain text.
func (v *Verifier) Known(hashes ...string) bool {
	for _, hash := range hashes {
		if v.cache == nil || !v.cache.has(v.mark(hash)) {
			return false
		}
	}
	return true
}

// recall returns the index of the plain text that is cached as right, or -1. known is false when
// the cache does not have the hash.
func (v *Verifier) recall(hash string, plains []string) (i int, known bool) {
	if v.cache == nil {
		return -1, false
	}
	right, known := v.cache.get(v.mark(hash))
	if !known {
		return -1, false
	}
	return slices.IndexFunc(plains, func(plain string) bool { return v.mark(hash, plain) == right }), true
}

func (v *Verifier) mark(texts ...string) (m mark) {
	mac := hmac.New(sha256.New, v.key)
	for _, text := range texts {
		var length [8]byte // so that other texts cannot make the same bytes
		binary.BigEndian.PutUint64(length[:], uint64(len(text)))
		mac.Write(length[:])
		io.WriteString(mac, text) //nolint:errcheck // a hash never fails
	}
	mac.Sum(m[:0])
	return m
}
