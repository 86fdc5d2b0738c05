package system

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"otpost/internal/fault"
	"otpost/internal/secret/secrettest"
	"otpost/internal/store/storetest"
)

func open(t *testing.T) (*Settings, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "otpost.db")
	db := storetest.OpenAt(t, path, nil)
	keys := secrettest.Keys(t)
	return New(db, keys), path
}

func load(t *testing.T, s *Settings) Values {
	t.Helper()
	v, err := s.Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestFreshInstallationHasTheRecordedDefaults(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	v := load(t, s)
	want := map[string]string{"IncFailCountOnFalsePin": "True", "PrependPin": "True", "splitAtSign": "True"}
	if diff := cmp.Diff(want, v.All()); diff != "" {
		t.Error(diff)
	}
	if v.EmailValidTime() != 2*time.Minute || v.DefaultMaxFailCount() != 10 || v.DefaultOTPLen() != 6 ||
		v.EmailConcurrent() {
		t.Errorf("defaults: %v %v %v %v", v.EmailValidTime(), v.DefaultMaxFailCount(), v.DefaultOTPLen(),
			v.EmailConcurrent())
	}
	if !v.PrependPIN() || !v.SplitAtSign() || v.EmailIdentifier() != "" {
		t.Error("PrependPin and splitAtSign are on, email.identifier is empty in a fresh installation")
	}
}

func TestSetSaysInsertOrUpdate(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	ctx := context.Background()
	got, err := s.Set(ctx, Setting{Key: EmailIdentifier, Value: "fast"}, Setting{Key: PrependPIN, Value: "False"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]string{EmailIdentifier: Insert, PrependPIN: Update}, got); diff != "" {
		t.Error(diff)
	}
	got, err = s.Set(ctx, Setting{Key: EmailIdentifier, Value: "slow"})
	if err != nil || got[EmailIdentifier] != Update {
		t.Errorf("second set: %v, %v", got, err)
	}
	v := load(t, s)
	if v.EmailIdentifier() != "slow" || v.PrependPIN() {
		t.Errorf("identifier %q, prepend %v", v.EmailIdentifier(), v.PrependPIN())
	}
}

func TestDeleteReportsWhetherThereWasOne(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	ctx := context.Background()
	if _, err := s.Set(ctx, Setting{Key: "a", Value: "b"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []bool{true, false} {
		if got, err := s.Delete(ctx, "a"); got != want || err != nil {
			t.Errorf("Delete = %v, %v, want %v", got, err, want)
		}
	}
}

func TestPasswordsAreSealedAndNeverReadBack(t *testing.T) {
	t.Parallel()
	s, path := open(t)
	ctx := context.Background()
	const marked = "marked-secret-4711"
	if _, err := s.Set(ctx, Setting{Key: "mypw", Value: marked, Type: TypePassword}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set(ctx, Setting{Key: "mypw", Value: Censored, Type: TypePassword}); err != nil {
		t.Fatal(err)
	}
	if got, _ := load(t, s).Text("mypw"); got != Censored {
		t.Errorf("a password reads %q", got)
	}
	for _, name := range []string{path, path + "-wal"} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(content, []byte(marked)) {
			t.Errorf("%s holds the password in clear", filepath.Base(name))
		}
	}
	var refused *fault.Error
	if _, err := s.Set(ctx, Setting{Key: "other", Value: Censored, Type: TypePassword}); !errors.As(err, &refused) {
		t.Errorf("keeping a password that does not exist: %v", err)
	}
}

func TestSetRefusesWhatNoMethodCouldUse(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	for _, one := range []Setting{
		{Key: EmailValidTime, Value: "601"}, {Key: EmailValidTime, Value: "0"}, {Key: EmailValidTime, Value: "soon"},
		{Key: EmailConcurrent, Value: "maybe"}, {Key: PrependPIN, Value: "2"}, {Key: SplitAtSign, Value: "enabled"},
		{Key: IncFailCountOnFalsePIN, Value: "x"}, {Key: DefaultResetFailCount, Value: "-1"},
		{Key: DefaultMaxFailCount, Value: "101"}, {Key: DefaultOTPLen, Value: "3"}, {Key: "__timestamp__", Value: "1"},
		{Key: "", Value: "1"},
	} {
		_, err := s.Set(context.Background(), Setting{Key: "good", Value: "1"}, one)
		var refused *fault.Error
		if !errors.As(err, &refused) || refused.Code != fault.Parameter || refused.Field != one.Key {
			t.Errorf("Set(%s=%s) = %v, want fault 905 about it", one.Key, one.Value, err)
		}
	}
	if _, ok := load(t, s).Text("good"); ok {
		t.Error("a refused call wrote one of its keys")
	}
	if _, err := s.Set(context.Background(), Setting{Key: EmailValidTime, Value: "600"}); err != nil {
		t.Errorf("600 s: %v", err)
	}
}

func TestSwitchesMeanWhatIsWritten(t *testing.T) {
	t.Parallel()
	s, _ := open(t)
	for text, want := range map[string]bool{"1": true, "true": true, "Yes": true, "ON": true, "0": false,
		"False": false, "no": false, "off": false, "": false} {
		if _, err := s.Set(t.Context(), Setting{Key: EmailConcurrent, Value: text},
			Setting{Key: PrependPIN, Value: text}); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if v := load(t, s); v.EmailConcurrent() != want || v.PrependPIN() != want {
			t.Errorf("%q reads %v and %v", text, v.EmailConcurrent(), v.PrependPIN())
		}
	}
}
