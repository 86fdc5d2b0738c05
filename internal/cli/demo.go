package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"otpost/internal/app"
	"otpost/internal/config"
	"otpost/internal/inbox"
)

const (
	slowMail = 500 * time.Millisecond // the time of the demo's mail server for each mail
	// on an idle machine the queued answer takes less than 1/smallPart of the inline one
	smallPart    = 4
	demoPatience = 30 * time.Second // for the whole demo, without --stay
	demoPIN      = "demo-pin"
	demoAddress  = "alice@example.com"
)

// demoCommand shows the program at work, in a temporary folder and on loopback.
type demoCommand struct {
	Stay bool `help:"Keep the server running afterwards, print how to try it in a browser and with curl, and print the mails as they arrive."`
}

// Run implements the command.
func (c *demoCommand) Run(ctx context.Context, s streams) (err error) {
	stop, end := listen(ctx, stopRules{}, func() {})
	defer end()
	folder, err := os.MkdirTemp("", "otpost-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(folder)) }()
	d := &demo{streams: s, folder: folder, stop: stop}
	defer d.close()
	err = d.show(stop.graceful)
	if err == nil && c.Stay {
		return d.stay(stop.graceful)
	}
	if stop.graceful.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// demo is one run.
type demo struct {
	streams
	folder string
	stop   stops

	password app.Password // the administrator's; printed only with --stay

	rest   *restClient
	mails  *inbox.Inbox
	seen   int // mails that were shown
	ended  chan error
	finish context.CancelFunc
	app    *app.App
	last   time.Time // the end of the previous step
}

// show sets up, logs in twice and compares.
func (d *demo) show(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, fmt.Errorf("it took longer than %v", demoPatience))
	defer cancel()
	fmt.Fprintf(d.out, "otpost %s: one login, twice. The mail server takes %d ms for each mail.\n", app.Version,
		slowMail.Milliseconds())
	d.title("Set-up, in a temporary folder and on loopback")
	if err := d.start(ctx); err != nil {
		return err
	}
	if err := d.enrol(ctx); err != nil {
		return err
	}
	d.title("First login: the mail is sent inside the request")
	inline, err := d.login(ctx)
	if err != nil {
		return fmt.Errorf("login without the queue: %w", err)
	}
	d.title(`Second login: the SMTP server's box "send via the job queue" is ticked`)
	if err := d.post(ctx, "/smtpserver/demo", d.smtpServer(true), "enqueue_job=1"); err != nil {
		return err
	}
	queued, err := d.login(ctx)
	if err != nil {
		return fmt.Errorf("login through the queue: %w", err)
	}
	d.compare(inline, queued)
	return nil
}

// compare prints the times of both logins.
func (d *demo) compare(inline, queued time.Duration) {
	fmt.Fprintf(d.out, "\nBoth codes were accepted. The login page had the answer to the PIN after\n%s  when the "+
		"mail is sent inside the request,\n%s  through the queue: %.0f times as fast.\n",
		milliseconds(inline), milliseconds(queued), float64(inline)/float64(queued))
	if queued*smallPart >= inline {
		fmt.Fprintln(d.out, "This machine is busy: at rest the second time is a small part of the first.")
	}
}

// start makes an installation as setup does, opens it as serve does, and starts server, workers and
// mail server.
func (d *demo) start(ctx context.Context) (err error) {
	d.last = time.Now()
	d.password = randomPassword()
	installed, err := app.Setup(ctx, app.SetupOptions{
		Dir:      d.folder,
		Admin:    "admin",
		Queue:    config.EmbeddedQueue,
		Log:      warnings(d.streams),
		Password: func() (app.Password, error) { return d.password, nil },
	})
	if err != nil {
		return err
	}
	d.done("otpost setup", "pi.cfg, keys, database, administrator")
	cfg, err := config.Load(config.Options{File: installed.Config})
	if err != nil {
		return err
	}
	if d.mails, err = inbox.Open(inbox.Options{Addr: "127.0.0.1:0", Delay: slowMail}); err != nil {
		return err
	}
	d.done("mail server", "smtp://"+d.mails.Addr())
	if d.app, err = app.Open(ctx, app.Options{Config: cfg, Log: warnings(d.streams)}); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, finish := context.WithCancel(context.WithoutCancel(ctx))
	d.finish, d.ended = finish, make(chan error, 1)
	go func() { d.ended <- d.app.Serve(serving, d.stop.hard, app.Listener{Listener: l}, 1) }()
	d.rest = newRestClient("http://" + l.Addr().String())
	d.done("otpost serve", d.rest.base+" with one worker")
	if err := d.rest.logIn(ctx, "admin", d.password.Reveal()); err != nil {
		return err
	}
	d.done("POST /auth", "as the administrator")
	return nil
}

// enrol makes the user alice with an e-mail token, as an administrator does by REST.
func (d *demo) enrol(ctx context.Context) error {
	users := filepath.Join(d.folder, "users.passwd")
	// privacyIDEA's passwd file: login, password hash, uid, gid, "name,room,phone,mobile,email", home, shell.
	line := "alice:*:1001:1001:Alice Example,,,," + demoAddress + ":/:/bin/false\n"
	if err := os.WriteFile(users, []byte(line), 0o600); err != nil {
		return err
	}
	steps := []struct {
		path string
		form url.Values
		note string
	}{
		{"/resolver/demo", url.Values{"type": {"passwdresolver"}, "fileName": {users}}, "users from a passwd file"},
		{"/realm/demo", url.Values{"resolvers": {"demo"}}, "a realm with them"},
		{"/defaultrealm/demo", nil, "for users without @realm"},
		{"/smtpserver/demo", d.smtpServer(false), "the mail server"},
		{"/system/setConfig", url.Values{"email.identifier": {"demo"}}, "codes leave by it"},
		{"/token/init", url.Values{"type": {"email"}, "user": {"alice"}, "email": {demoAddress}, "pin": {demoPIN}},
			"an e-mail token with a PIN for alice"},
	}
	for _, step := range steps {
		if err := d.post(ctx, step.path, step.form, step.note); err != nil {
			return err
		}
	}
	// The PIN's slow hash is computed before both logins, so that only the mail makes a difference.
	// This request sends no mail.
	wrong, err := d.rest.post(ctx, "/validate/check", url.Values{"user": {"alice"}, "pass": {demoPIN + "000000"}})
	if err != nil {
		return err
	}
	d.done("POST /validate/check", "user=alice pass=PIN+wrong code -> "+wrong.Result.Authentication)
	return nil
}

func (d *demo) smtpServer(queue bool) url.Values {
	host, port, _ := net.SplitHostPort(d.mails.Addr()) // a listener's own address
	form := url.Values{"server": {host}, "port": {port}, "sender": {"otpost@example.com"}, "tls": {"0"},
		"timeout": {"10"}, "enqueue_job": {"0"}}
	if queue {
		form.Set("enqueue_job", "1")
	}
	return form
}

// login sends the PIN, waits for the mail and sends its code. It returns the time until the PIN's
// answer.
func (d *demo) login(ctx context.Context) (time.Duration, error) {
	first, err := d.rest.post(ctx, "/validate/check", url.Values{"user": {"alice"}, "pass": {demoPIN}})
	if err != nil {
		return 0, err
	}
	took := d.done("POST /validate/check", "user=alice pass=PIN -> "+first.Result.Authentication)
	if first.Result.Authentication != "CHALLENGE" {
		return 0, fmt.Errorf("the PIN was answered by %s (%s)", first.Result.Authentication, first.Detail.Message)
	}
	mails, err := d.mails.Wait(ctx, d.seen+1)
	if err != nil {
		return 0, fmt.Errorf("no mail arrived: %w", context.Cause(ctx))
	}
	mail := mails[d.seen]
	d.seen++
	d.done("a mail arrives", "")
	code, err := d.printMail(mail)
	if err != nil {
		return 0, err
	}
	d.last = time.Now()
	second, err := d.rest.post(ctx, "/validate/check", url.Values{
		"user": {"alice"}, "transaction_id": {first.Detail.TransactionID}, "pass": {code},
	})
	if err != nil {
		return 0, err
	}
	d.done("POST /validate/check", "transaction_id=... pass="+code+" -> "+second.Result.Authentication)
	if second.Result.Authentication != "ACCEPT" {
		return 0, fmt.Errorf("the code of the mail was answered by %s (%s)", second.Result.Authentication,
			second.Detail.Message)
	}
	return took, nil
}

// stay keeps the server up until a signal comes.
func (d *demo) stay(ctx context.Context) error {
	fmt.Fprintf(d.out, `
The server stays up until Ctrl-C; then everything is removed. Try it in a
browser, as the administrator or as alice with the PIN %[2]s:

  %[3]s/           admin, password %[4]s
  %[3]s/ui/login   alice

or in a shell: the PIN first, then the code of the mail that appears here, with
the transaction_id of the answer as ID.

  URL=%[1]s/validate
  curl -s $URL/check -d user=alice -d pass=%[2]s
  curl -s $URL/polltransaction -G -d transaction_id=ID
  curl -s $URL/check -d user=alice -d transaction_id=ID -d pass=CODE
`, d.rest.base, demoPIN, d.rest.base, d.password.Reveal())
	for {
		mails, err := d.mails.Wait(ctx, d.seen+1)
		if err != nil {
			return nil //nolint:nilerr // a signal, as announced
		}
		fmt.Fprintln(d.out)
		if _, err := d.printMail(mails[d.seen]); err != nil {
			return err
		}
		d.seen++
	}
}

// close stops the parts that start has started.
func (d *demo) close() {
	if d.finish != nil {
		d.finish()
		if err := <-d.ended; err != nil {
			fmt.Fprintf(d.err, "server: %v\n", err)
		}
	}
	if d.app != nil {
		d.app.Close() //nolint:errcheck // its folder is removed next
	}
	if d.mails != nil {
		d.mails.Close() //nolint:errcheck // likewise
	}
}

func (d *demo) title(text string) {
	fmt.Fprintf(d.out, "\n%s\n", text)
	d.last = time.Now()
}

// done prints a step with the time since the previous step, and returns that time.
func (d *demo) done(what, note string) time.Duration {
	took := time.Since(d.last)
	fmt.Fprintln(d.out, strings.TrimRight(fmt.Sprintf("%s  %-23s  %s", milliseconds(took), what, note), " "))
	d.last = time.Now()
	return took
}

func (d *demo) post(ctx context.Context, path string, form url.Values, note string) error {
	if _, err := d.rest.post(ctx, path, form); err != nil {
		return err
	}
	d.done("POST "+path, note)
	return nil
}

// milliseconds returns a duration, padded to a column.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%8s ms", strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', 1, 64))
}
