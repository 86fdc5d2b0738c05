package app

import (
	"context"

	"otpost/internal/config"
	"otpost/internal/pinhash"
)

// peppered puts PI_PEPPER before the passwords of local administrators, as privacyIDEA does, so
// that a stolen database alone does not allow guessing them.
type peppered struct {
	verifier *pinhash.Verifier
	pepper   config.Secret
}

// Hash implements access.Passwords.
func (p peppered) Hash(ctx context.Context, peer, plain string) (string, error) {
	return p.verifier.Hash(ctx, peer, string(p.pepper.Reveal())+plain)
}

// Verify implements access.Passwords.
func (p peppered) Verify(ctx context.Context, peer, hash, plain string) (bool, error) {
	return p.verifier.Verify(ctx, peer, hash, string(p.pepper.Reveal())+plain)
}

// Dummy implements access.Passwords.
func (p peppered) Dummy(ctx context.Context, peer, like, plain string) error {
	return p.verifier.Dummy(ctx, peer, like, string(p.pepper.Reveal())+plain)
}
