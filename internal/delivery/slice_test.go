package delivery_test

import (
	"context"
	"errors"
	"time"

	"otpost/internal/delivery"
	"otpost/internal/store"
)

// slice is the name of the second channel of the tests. It writes messages into a slice and knows no mail.
const slice = "slice"

// sliceChannel can refuse, stall, lose the reply, panic and commit twice, as the script of its server says.
type sliceChannel struct{ *server }

// Routes implements delivery.Channel.
func (sliceChannel) Routes(store.Reader) (map[string]delivery.Route, error) {
	return map[string]delivery.Route{"queued": {Queue: true}, "inline": {}}, nil
}

// Address implements delivery.Channel.
func (sliceChannel) Address(recipient string) (whole, masked string, err error) {
	if recipient == "" {
		return "", "", errors.New("there is no address")
	}
	return recipient, recipient[:1] + "***", nil
}

// Send implements delivery.Channel.
func (c sliceChannel) Send(ctx context.Context, m delivery.Outgoing, g *delivery.Gate) (delivery.Result, error) {
	a := c.next()
	if err := g.Wanted(ctx); err != nil {
		return delivery.Result{}, err
	}
	if a.early != nil {
		a.early()
	}
	if a.before != "" {
		return delivery.Result{Class: a.before, Phase: "rcpt", Code: a.code, Text: a.text}, nil
	}
	if _, err := g.Commit(ctx, 10*time.Second); err != nil {
		return delivery.Result{}, err
	}
	if a.atDot != nil {
		a.atDot()
	}
	if g.MayWrite() != nil {
		return delivery.Result{Class: delivery.ClassLate, Phase: "data"}, nil
	}
	c.write(m.MessageID)
	if a.afterDot != nil {
		a.afterDot()
	}
	if a.twice {
		if _, err := g.Commit(ctx, 10*time.Second); err != nil {
			return delivery.Result{}, err
		}
	}
	return delivery.Result{Class: a.reply, Phase: "reply", Code: a.code, Text: a.text}, nil
}
