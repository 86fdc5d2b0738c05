package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"otpost/internal/secret"
)

func keys(t *testing.T) *secret.Keys {
	t.Helper()
	k, err := secret.NewKeys(secret.NewKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealedRecordOpensOnlyInItsPlace(t *testing.T) {
	t.Parallel()
	k := keys(t)
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		a := rapid.SliceOfN(rapid.String(), 2, 4).Draw(t, "place")
		b := rapid.SliceOfN(rapid.String(), 2, 4).Draw(t, "other place")
		pa, pb := secret.Place(a[0], a[1], a[2:]...), secret.Place(b[0], b[1], b[2:]...)
		record := k.Seal(secret.SMTP, pa, plain)
		got, err := k.Open(secret.SMTP, pa, record)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("open in its place: %q, %v", got, err)
		}
		if _, err := k.Open(secret.SMTP, pb, record); !bytes.Equal(pa, pb) && !errors.Is(err, secret.ErrSealed) {
			t.Fatalf("opened in another place: %v", err)
		}
		if _, err := k.Open(secret.Seed, pa, record); !errors.Is(err, secret.ErrSealed) {
			t.Fatalf("opened for another purpose: %v", err)
		}
	})
}

func TestPlaceTellsItsPartsApart(t *testing.T) {
	t.Parallel()
	if bytes.Equal(secret.Place("t", "c", "ab", "c"), secret.Place("t", "c", "a", "bc")) {
		t.Fatal("two places are one")
	}
}

func TestDamagedRecordDoesNotOpen(t *testing.T) {
	t.Parallel()
	k := keys(t)
	place := secret.Place("token", "seed", "S1")
	record := k.Seal(secret.Seed, place, []byte("x"))
	for i := range record {
		bad := bytes.Clone(record)
		bad[i] ^= 1
		if _, err := k.Open(secret.Seed, place, bad); !errors.Is(err, secret.ErrSealed) {
			t.Fatalf("byte %d flipped: %v", i, err)
		}
		if _, err := k.Open(secret.Seed, place, record[:i]); !errors.Is(err, secret.ErrSealed) {
			t.Fatalf("cut at %d: %v", i, err)
		}
	}
}

func TestOtherKeyFileOpensNothing(t *testing.T) {
	t.Parallel()
	place := secret.Place("token", "seed", "S1")
	record := keys(t).Seal(secret.Seed, place, []byte("x"))
	if _, err := keys(t).Open(secret.Seed, place, record); !errors.Is(err, secret.ErrSealed) {
		t.Fatal(err)
	}
}

func TestTextNeverPrints(t *testing.T) {
	t.Parallel()
	s := struct{ P secret.Text }{"hunter2"}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "p", s.P)
	j, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf("%v %+v %#v %s %q", s, s, s, s.P, s.P) + log.String() + string(j)
	if strings.Contains(all, "hunter2") {
		t.Fatal("a secret was printed")
	}
	if s.P.Reveal() != "hunter2" {
		t.Fatal("Reveal lost the text")
	}
}
