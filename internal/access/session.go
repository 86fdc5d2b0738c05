package access

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"otpost/internal/fault"
	"otpost/internal/secret"
	"otpost/internal/store"
)

// Lifetime is how long a session lives, as in the original.
const Lifetime = time.Hour

// clockSlack is how much later than Lifetime from now a session may end: the clocks of two servers
// differ. A session that ends later was issued before the clock was set back.
const clockSlack = time.Minute

// Options are what Sessions need. Key is required.
type Options struct {
	Key             secret.Text // SECRET_KEY
	SuperuserRealms []string    // SUPERUSER_REALM: their users are administrators; lower case
}

// Sessions issues and checks session tokens: JWT with HS256 and SECRET_KEY (RFC 7519), the
// original's claims. It is safe for concurrent use.
type Sessions struct {
	db      *store.DB
	options Options
	parser  *jwt.Parser
}

// NewSessions returns the sessions of a database.
func NewSessions(db *store.DB, o Options) *Sessions {
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(db.Now))
	return &Sessions{db: db, options: o, parser: parser}
}

// Superuser reports whether the users of a realm are administrators.
func (s *Sessions) Superuser(realm string) bool {
	return realm != "" && slices.Contains(s.options.SuperuserRealms, strings.ToLower(realm))
}

// SuperuserRealms returns the realms whose users are administrators; never nil.
func (s *Sessions) SuperuserRealms() []string {
	return append([]string{}, s.options.SuperuserRealms...)
}

// Users answers whether the owner of a realm's session still exists; it is user.Directory.
type Users interface {
	// Mark returns a text that changes with the user and with his password; empty for an unknown
	// name.
	Mark(ctx context.Context, login, realm string) (secret.Text, error)
}

// claims are the original's and mark. A changed password changes the mark, which ends older
// sessions. A time of issue would not do, because the clock may be set back.
type claims struct {
	Username string   `json:"username"`
	Realm    string   `json:"realm"`
	Nonce    string   `json:"nonce"`
	Role     Role     `json:"role"`
	Authtype string   `json:"authtype"`
	Expires  int64    `json:"exp"`
	Mark     string   `json:"mark"`   // HMAC of Identity.Mark, in hex
	Rights   []string `json:"rights"` // for display only: every request looks the rights up
}

// Issue returns a session token for an identity and when it ends (whole seconds).
func (s *Sessions) Issue(id Identity, rights []string) (token string, expires time.Time, err error) {
	nonce := make([]byte, 20)
	rand.Read(nonce)
	expires = s.db.Now().Add(Lifetime).Truncate(time.Second)
	c := claims{
		Username: id.Name,
		Realm:    id.Realm,
		Nonce:    hex.EncodeToString(nonce),
		Role:     id.Role,
		Authtype: "password",
		Expires:  expires.Unix(),
		Mark:     s.mark(id.Mark),
		Rights:   append([]string{}, rights...),
	}
	token, err = jwt.NewWithClaims(jwt.SigningMethodHS256, asciiClaims{c}).SignedString([]byte(s.options.Key.Reveal()))
	if err != nil {
		return "", time.Time{}, fmt.Errorf("sign session token: %w", err)
	}
	return token, expires, nil
}

// Verify returns the owner of the session token in the header. Its faults and their texts are
// recorded in testdata/rest/errors.json and auth.json: 4033 no token, 4304 unreadable, forged or
// void, 4305 too old. A prefix such as Bearer is refused, as recorded. users knows the realms; its
// errors are returned unchanged.
func (s *Sessions) Verify(ctx context.Context, header string, users Users) (Identity, error) {
	if header == "" {
		return Identity{}, fault.New(fault.MissingToken, "no_session",
			"Authentication failure. Missing Authorization header.")
	}
	if reason := malformed(header); reason != "" {
		return Identity{}, invalid(nil, reason)
	}
	var c asciiClaims
	_, err := s.parser.ParseWithClaims(header, &c, func(*jwt.Token) (any, error) {
		return []byte(s.options.Key.Reveal()), nil
	})
	switch {
	case errors.Is(err, jwt.ErrTokenSignatureInvalid):
		return Identity{}, invalid(err, "Signature verification failed")
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, expired(err)
	case err != nil:
		return Identity{}, invalid(err, "this server did not issue the token")
	case time.Unix(c.Expires, 0).Sub(s.db.Now()) > Lifetime+clockSlack:
		return Identity{}, expired(errors.New("issued before the clock was set back"))
	}
	id := Identity{Name: c.Username, Realm: c.Realm, Role: c.Role}
	if id.Realm != "" {
		return id, s.holdsInRealm(ctx, id, c.Mark, users)
	}
	return id, s.holds(ctx, id, c.Mark)
}

// mark returns the claim for a mark: its HMAC. The prefix has a space, so no signed text of a JWT
// begins with it.
func (s *Sessions) mark(of secret.Text) string {
	mac := hmac.New(sha256.New, []byte(s.options.Key.Reveal()))
	mac.Write([]byte("session mark " + of.Reveal()))
	return hex.EncodeToString(mac.Sum(nil))
}

// holdsInRealm returns nil when the realm still has this user, with this role and this password.
func (s *Sessions) holdsInRealm(ctx context.Context, id Identity, mark string, users Users) error {
	switch {
	case id.Role == Admin && !s.Superuser(id.Realm):
		return invalid(nil, "the users of the realm are no longer administrators")
	case id.Role == User && s.Superuser(id.Realm):
		return invalid(nil, "the users of the realm have become administrators")
	case id.Role != Admin && id.Role != User:
		return invalid(nil, "this server did not issue the token")
	}
	now, err := users.Mark(ctx, id.Name, id.Realm)
	if err != nil {
		return fmt.Errorf("look the session's user up: %w", err)
	}
	return s.holdsMark(mark, now)
}

// holdsMark returns nil if a token's mark is the owner's current mark. An empty current mark means
// that the owner does not exist.
func (s *Sessions) holdsMark(mark string, now secret.Text) error {
	if now == "" || !hmac.Equal([]byte(mark), []byte(s.mark(now))) {
		return ended(nil)
	}
	return nil
}

// holds returns nil when the local administrator exists and has the password with which the session
// began.
func (s *Sessions) holds(ctx context.Context, id Identity, mark string) error {
	if id.Role != Admin {
		return invalid(nil, "this server did not issue the token")
	}
	now, err := markOf(ctx, s.db, id.Name)
	if err != nil {
		return err
	}
	return s.holdsMark(mark, now)
}

func expired(cause error) error {
	return fault.Wrap(cause, fault.ExpiredToken, "session_expired",
		"Authentication failure. Your token has expired: Signature has expired")
}

func ended(cause error) error { return invalid(cause, "the session has ended") }

func invalid(cause error, reason string) error {
	return fault.Wrap(cause, fault.InvalidToken, "session_invalid",
		"Authentication failure. Error decoding the Authorization token: "+reason)
}

// malformed returns the recorded words for an unreadable token; empty when the token has the form
// of a JWT.
func malformed(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "Not enough segments"
	}
	for i, name := range []string{"header", "payload", "crypto"} {
		if _, err := base64.RawURLEncoding.DecodeString(parts[i]); err != nil {
			return "Invalid " + name + " padding"
		}
	}
	return ""
}

// asciiClaims are claims whose Base64 holds no '-' and no '_': a Java client decodes the payload
// with the plain alphabet (docs/compatibility.md, "Clients"). Of ASCII bytes only > ? ~ and DEL can
// lead to them, so these and everything beyond ASCII are escaped.
type asciiClaims struct{ claims }

// MarshalJSON implements json.Marshaler.
func (a asciiClaims) MarshalJSON() ([]byte, error) {
	plain, err := json.Marshal(a.claims)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	for _, r := range string(plain) { // outside strings JSON is free of these characters
		switch {
		case r > 0xffff:
			r -= 0x10000
			fmt.Fprintf(&b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		case r >= 0x7f || r == '>' || r == '?' || r == '~':
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.Bytes(), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *asciiClaims) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &a.claims) }

// GetExpirationTime implements jwt.Claims.
func (a asciiClaims) GetExpirationTime() (*jwt.NumericDate, error) {
	if a.Expires == 0 {
		return nil, nil
	}
	return jwt.NewNumericDate(time.Unix(a.Expires, 0)), nil
}

// GetIssuedAt implements jwt.Claims.
func (a asciiClaims) GetIssuedAt() (*jwt.NumericDate, error) { return nil, nil }

// GetNotBefore implements jwt.Claims.
func (a asciiClaims) GetNotBefore() (*jwt.NumericDate, error) { return nil, nil }

// GetIssuer implements jwt.Claims.
func (a asciiClaims) GetIssuer() (string, error) { return "", nil }

// GetSubject implements jwt.Claims.
func (a asciiClaims) GetSubject() (string, error) { return a.Username, nil }

// GetAudience implements jwt.Claims.
func (a asciiClaims) GetAudience() (jwt.ClaimStrings, error) { return nil, nil }

var _ jwt.Claims = asciiClaims{}
