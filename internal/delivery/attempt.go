package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"otpost/internal/store"
)

// Attempt is one try of a route, as administrators read it. It holds no address, code or password.
type Attempt struct {
	Number    int        `json:"number"`
	Route     string     `json:"server"`
	Started   time.Time  `json:"started"`
	DotAt     *time.Time `json:"dot_at"`    // when the end of the message was committed; null: it never came so far
	Ended     *time.Time `json:"ended"`     // null: under way
	Class     string     `json:"result"`    // accepted temporary permanent unreachable unknown late
	Phase     string     `json:"phase"`     // where it ended
	Phases    []Phase    `json:"phases"`    // each with its time, reply and certificates; never null
	Code      int        `json:"code"`      // of the reply; 0: none
	Enhanced  string     `json:"enhanced"`  // RFC 3463
	Text      string     `json:"text"`      // of the reply, scrubbed
	Diagnosis Diagnosis  `json:"diagnosis"` // empty: nothing is wrong
}

// beginAttempt writes the attempt whose dot is being committed.
func (h *handling) beginAttempt(tx *store.Tx, d row, now time.Time) {
	tx.Put(`INSERT INTO attempt (delivery_id, number, route, owner, started_ms, dot_at_ms,
			class, phase, phases, reply_code, enhanced, text)
		VALUES ($1, $2, $3, $4, $5, $6, '', '', '[]', 0, '', '')`,
		d.id[:], d.attempts+1, d.route, h.owner, store.Millis(h.begun), store.Millis(now))
}

// writeAttempt writes what happened: it ends the attempt whose dot was committed, or adds one that never came so far.
func (h *handling) writeAttempt(tx *store.Tx, d row, r Result) error {
	if r.Class == ClassLate {
		r.Diagnosis = DiagnosisTooLate // the gate's too, which comes without one
	}
	phases, err := json.Marshal(r.Phases)
	if err != nil {
		return fmt.Errorf("encode phases: %w", err)
	}
	number := d.attempts
	if d.state != Sending {
		if number, err = nextAttempt(tx, d.id); err != nil {
			return err
		}
		tx.Put(`INSERT INTO attempt (delivery_id, number, route, owner, started_ms,
				class, phase, phases, reply_code, enhanced, text)
			VALUES ($1, $2, $3, $4, $5, '', '', '[]', 0, '', '')`,
			d.id[:], number, d.route, h.owner, store.Millis(h.begun))
	}
	tx.Put(`UPDATE attempt SET ended_ms = $3, class = $4, phase = $5, phases = $6, reply_code = $7, enhanced = $8,
			text = $9, diagnosis = $10 WHERE delivery_id = $1 AND number = $2`,
		d.id[:], number, store.Millis(h.s.DB.Now()), string(r.Class), r.Phase, string(phases), r.Code, r.Enhanced,
		r.Text, string(r.Diagnosis))
	return nil
}

// nextAttempt returns the number of an attempt that did not come to its dot.
func nextAttempt(r store.Reader, id uuid.UUID) (number int, err error) {
	err = r.Get([]any{&number}, `SELECT coalesce(max(number), 0) + 1 FROM attempt WHERE delivery_id = $1`, id[:])
	if err != nil {
		return 0, fmt.Errorf("number attempt: %w", err)
	}
	return number, nil
}

// lateReply is row 18: the delivery went on without this handling, so the reply goes onto the attempt alone.
// d is the row as this handling knows it. An attempt without a dot is added when the delivery has its end;
// before that another handling is at it, whose attempts are counted.
func (h *handling) lateReply(ctx context.Context, d row, r Result) error {
	return h.s.DB.Write(ctx, func(tx *store.Tx) error {
		if d.state == Sending {
			return h.writeAttempt(tx, d, r)
		}
		now, err := load(tx, h.id)
		if err != nil || !now.state.Final() {
			return err
		}
		return h.writeAttempt(tx, now, r)
	})
}

// copiesOf counts the dots of a delivery that have no known reply, the open one included: so many copies may have
// arrived.
func copiesOf(r store.Reader, id uuid.UUID) (n int, err error) {
	err = r.Get([]any{&n}, `SELECT count(*) FROM attempt
		WHERE delivery_id = $1 AND dot_at_ms IS NOT NULL AND class IN ('', 'unknown')`, id[:])
	if err != nil {
		return 0, fmt.Errorf("count copies: %w", err)
	}
	return n, nil
}

// closeAttempts ends what an owner that is gone left open.
func closeAttempts(tx *store.Tx, id uuid.UUID, now time.Time) {
	tx.Put(`UPDATE attempt SET ended_ms = $2, class = 'unknown', diagnosis = $3
		WHERE delivery_id = $1 AND ended_ms IS NULL`,
		id[:], store.Millis(now), string(DiagnosisInternal))
}

// eachAttempt reads the attempts of deliveries, for each of them in their order.
func eachAttempt(r store.Reader, ids []uuid.UUID, each func(id uuid.UUID, a Attempt)) error {
	err := store.List(r, func(scan store.Scan) error {
		var id uuid.UUID
		var a Attempt
		var dot, ended time.Time
		var phases []byte
		err := scan(&id, &a.Number, &a.Route, store.NullTime{To: &a.Started}, store.NullTime{To: &dot},
			store.NullTime{To: &ended}, &a.Class, &a.Phase, &phases, &a.Code, &a.Enhanced, &a.Text, &a.Diagnosis)
		if err != nil && (id == uuid.Nil || !errors.Is(err, store.ErrDamaged)) {
			return err
		}
		if json.Unmarshal(phases, &a.Phases) != nil { // the row is damaged; its other columns are shown
			a.Phases = nil
		}
		if a.Phases == nil { // no connection was tried
			a.Phases = []Phase{}
		}
		a.DotAt, a.Ended = optional(dot), optional(ended)
		each(id, a)
		return nil
	}, `SELECT delivery_id, number, route, started_ms, dot_at_ms, ended_ms, class, phase, phases,
			reply_code, enhanced, text, diagnosis
		FROM attempt WHERE delivery_id IN (`+idPlaces()+`) ORDER BY delivery_id, number`, idArgs(ids)...)
	if err != nil {
		return fmt.Errorf("read attempts: %w", err)
	}
	return nil
}

// optional returns nil for the zero time.
func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}
