package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/gatehouse-sso/gatehouse/configs"
	"github.com/gatehouse-sso/gatehouse/provisioning/audit"
	"github.com/gatehouse-sso/gatehouse/provisioning/store"
	"github.com/gatehouse-sso/gatehouse/provisioning/store/boltstore"
	webapi "github.com/gatehouse-sso/gatehouse/web/api"
)

func storeCommand() *cobra.Command {
	return group("store", "The store's file: back up, restore, check, copy", backupCommand(), restoreCommand(), checkStoreCommand(), copyStoreCommand())
}

// storeRoutes are what the API can do about the store.
func (a *api) storeRoutes() {
	// A copy as of one moment, checked before its first byte is sent.
	a.raw("GET /v1/store/backup", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/octet-stream")
		if err := a.p.bolt.Load().Backup(r.Context(), w); err != nil {
			a.p.log.ErrorContext(r.Context(), "backup", "error", err)
			panic(http.ErrAbortHandler) // half a copy must not look whole
		}
		a.backedUp(r)
	}).doc("A copy of the store as of one moment, checked before its first byte is sent. The key of the store is not in it.", nil).file("application/octet-stream").afresh()
	a.route("GET /v1/store/check", func(r *http.Request) (any, error) {
		if err := a.p.bolt.Load().Backup(r.Context(), io.Discard); err != nil {
			return nil, err
		}
		return map[string]bool{"ok": true}, audit.Verify(r.Context(), a.p.store)
	}).doc("Reads the whole store and follows the audit log.", map[string]bool{})
}

// backedUp notes that a copy went out.
func (a *api) backedUp(r *http.Request) {
	ctx := context.WithoutCancel(r.Context())
	if err := a.p.store.Update(ctx, func(tx store.Tx) error {
		return a.p.audit.Append(tx, audit.Event{Kind: eventBackup, By: a.actor(r)})
	}); err != nil {
		a.p.log.ErrorContext(ctx, "the backup was not recorded", "error", err)
	}
}

// eventBackup is the kind of the event of a backup.
const eventBackup = "store.backup"

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "backup FILE", Short: "Write a copy of the store, as of one moment, while the gateway runs", Args: args(cobra.ExactArgs(1)),
		Long: "Writes a copy of the store, as of one moment, while the gateway runs or not. The copy is read\nand checked whole before it gets its name. The key of the store is not in it: keep that apart.",
	}
	file := configFlag(cmd)
	compact := cmd.Flags().Bool("compact", false, "leave out the room that nothing uses")
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		to := argv[0]
		if _, err := os.Lstat(to); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already — name a file that is not", to)
		}
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		part, err := os.CreateTemp(filepath.Dir(to), filepath.Base(to)+".part-*")
		if err != nil {
			return fmt.Errorf("nothing can be written in %s: %w — make that folder, or name a file in another", filepath.Dir(to), errors.Unwrap(err))
		}
		defer os.Remove(part.Name())
		if err := errors.Join(a.fetch(cmd.Context(), "store/backup", part), part.Sync(), part.Close()); err != nil {
			return err
		}
		whole := part.Name()
		if *compact {
			whole += ".compact"
			defer os.Remove(whole)
			if err := boltstore.Compact(part.Name(), whole); err != nil {
				return err
			}
		} else if err := boltstore.InspectFile(whole); err != nil {
			return err
		}
		if err := os.Link(whole, to); err != nil { // which replaces nothing
			return err
		}
		info, err := os.Stat(to)
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %d KiB, read back and whole\n", to, info.Size()>>10)
		return nil
	}
	return cmd
}

// fetch copies what the API answers to w.
func (a *admin) fetch(ctx context.Context, path string, w io.Writer) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://admin.sock/v1/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := a.do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		raw, err := io.ReadAll(resp.Body)
		return errors.Join(webapi.Refused(resp.StatusCode, raw), err)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// stopped says no while a gateway has the store of a configuration.
func stopped(cfg *configs.Config) error {
	conn, err := net.Dial("unix", socketPath(cfg))
	if err != nil {
		return nil
	}
	return errors.Join(errors.New("a gateway runs with this store — stop it first"), conn.Close())
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in the place of the store; the gateway is stopped", Args: args(cobra.ExactArgs(1)),
		Long: "Puts a backup in the place of the store while no gateway runs. The backup is read and checked\nwhole first, and its sessions are ended, since some may have been ended after it was made; then it takes\nthe place at once. The store that was there, if any, stays beside it under another name.",
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		cfg, mistakes := loadAll(*file, configs.AllowInlineSecrets)
		if len(mistakes) > 0 {
			printMistakes(mistakes)
			return errSaid
		}
		if err := stopped(cfg); err != nil {
			return err
		}
		whole, ended, err := prepare(cmd.Context(), cfg, argv[0])
		if err != nil {
			return fmt.Errorf("the backup was not restored: %w", err)
		}
		path := cfg.Store.Bolt()
		var aside string
		if err = stopped(cfg); err == nil { // one may have been started meanwhile
			aside, err = boltstore.Replace(path, whole)
		}
		if err != nil {
			return errors.Join(err, boltstore.Remove(whole))
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s is the backup, and whole\n", path)
		if aside != "" {
			fmt.Fprintf(cmd.OutOrStdout(), "what was there is %s\n", aside)
		}
		if ended > 0 {
			fmt.Fprintf(cmd.OutOrStdout(), "%d %s of the backup ended: people sign in again\n", ended, plural(ended, "session", "sessions"))
		}
		return nil
	}
	return cmd
}

// prepare makes of a backup, beside the store, what may take the store's place: a whole
// copy that the configuration opens, and which knows no session any more, since which
// of them ended after the backup was made nobody knows.
func prepare(ctx context.Context, cfg *configs.Config, backup string) (whole string, ended int, err error) {
	if err := boltstore.InspectFile(backup); err != nil {
		return "", 0, err
	}
	sealer, err := openSealer(cfg, false)
	if err != nil {
		return "", 0, err
	}
	from, err := os.Open(backup)
	if err != nil {
		return "", 0, err
	}
	defer from.Close()
	path := cfg.Store.Bolt()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", 0, err
	}
	part, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".part-*")
	if err != nil {
		return "", 0, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, boltstore.Remove(part.Name()))
		}
	}()
	_, err = io.Copy(part, from)
	if err = errors.Join(err, part.Sync(), part.Close()); err != nil {
		return "", 0, err
	}
	p, err := openProcessAt(ctx, cfg, part.Name(), sealer, slog.New(slog.DiscardHandler), time.Now)
	if err != nil {
		return "", 0, err
	}
	a, err := p.admin(ctx, cfg)
	if err != nil {
		return "", 0, err
	}
	_, err = a.call(ctx, http.MethodGet, "store/check", nil, nil)
	var sessions map[string]int
	if err == nil {
		_, err = a.call(ctx, http.MethodDelete, "sessions", url.Values{"all": {"true"}}, &sessions)
	}
	return part.Name(), sessions["ended"], errors.Join(err, a.close())
}

func checkStoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check [FILE]", Short: "Read the whole store, or a backup, and say whether it is what was written", Args: args(cobra.MaximumNArgs(1)),
		Long: "Reads every page and every value of the store, while the gateway runs or not, and its audit log.\nOf a backup in FILE it reads pages and values.",
	}
	file := configFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, argv []string) error {
		if len(argv) > 0 {
			if err := boltstore.InspectFile(argv[0]); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is whole\n", argv[0])
			return nil
		}
		a, err := openAdmin(cmd.Context(), *file)
		if err != nil {
			return err
		}
		defer func() { _ = a.close() }()
		if _, err := a.call(cmd.Context(), http.MethodGet, "store/check", nil, nil); err != nil {
			return err
		}
		fmt.Fprintln(cmd.OutOrStdout(), "the store and its audit log are whole")
		return nil
	}
	return cmd
}

func copyStoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "copy FROM TO", Short: "Copy a store into an empty one, as `store` names them (bolt:PATH); nobody uses either", Args: args(cobra.ExactArgs(2)),
		RunE: func(cmd *cobra.Command, argv []string) (err error) {
			from, to := configs.Store(argv[0]).Bolt(), configs.Store(argv[1]).Bolt()
			if "bolt:"+from != argv[0] || "bolt:"+to != argv[1] {
				return usageError{errors.New("name both stores as the configuration does: bolt: and the path of a file")}
			}
			if _, err := os.Stat(from); err != nil {
				return err
			}
			var open [2]*boltstore.Store
			for i, path := range []string{from, to} {
				if open[i], err = boltstore.Open(path, boltstore.Options{}); err != nil {
					return err
				}
				defer func() { err = errors.Join(err, open[i].Close()) }()
			}
			n, err := store.Copy(cmd.Context(), open[1], open[0])
			if errors.Is(err, store.ErrNotEmpty) {
				return fmt.Errorf("%s holds something already — name a store that is not there yet", argv[1])
			}
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d rows are in %s; the key of the store is the same\n", n, argv[1])
			return nil
		},
	}
}
