package kaniko

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/registry/identity"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/handoff"
)

const (
	// HelperCommand is the argument with which programs ask a credential helper of
	// Docker for credentials.
	HelperCommand = "get"
	// helper is the name of this program as a credential helper, and helperProgram
	// that of its file.
	helper        = "modelkiln"
	helperProgram = "docker-credential-" + helper
	// SharedVariable is the environment variable in which the helper, which has no
	// flags, finds the directory that the steps share.
	SharedVariable = "MODELKILN_SHARED"
	// shortLifetime is the lifetime of a token below which another attempt may get one
	// that is valid for longer: Google's metadata server returns the same token for
	// almost an hour.
	shortLifetime = 30 * time.Minute
	// identityTokenUser is the user that marks an identity token.
	identityTokenUser = "<token>"
)

// RequestCredentials asks the process that started Kaniko for the credentials of a
// registry, and returns them as the JSON of a credential helper.
func RequestCredentials(ctx context.Context, shared handoff.Dir, server string) (string, error) {
	return request(ctx, shared.Path(credentialsSocket), server)
}

// helperServer serves credentials that the identity of the service account has. Kaniko
// asks for them when it needs them, because they may have expired by then if they were
// in its configuration file. They are served by the process that started Kaniko, so
// that it can remove them from the log.
type helperServer struct {
	Input
	listener net.Listener
	cancel   context.CancelFunc
	stopped  chan struct{}

	mu sync.Mutex
	// err is why there were none.
	err error
	// last are the last ones, server is their registry, and served is when Kaniko got
	// them.
	last   identity.Credential
	server string
	served time.Time
}

func startHelper(ctx context.Context, in Input) (*helperServer, error) {
	listener, err := listen(ctx, in.Shared.Path(credentialsSocket))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	h := &helperServer{Input: in, listener: listener, cancel: cancel, stopped: make(chan struct{})}
	go func() {
		defer close(h.stopped)
		serve(ctx, listener, h.handle)
	}()
	return h, nil
}

func (h *helperServer) stop() {
	h.cancel()
	_ = h.listener.Close()
	<-h.stopped
}

// handle returns the credentials of a registry in the form of
// https://github.com/docker/docker-credential-helpers.
func (h *helperServer) handle(ctx context.Context, server string) (string, error) {
	credential, err := h.credential(ctx, server)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.err = err
		return "", err
	}
	h.last, h.server, h.served = credential, server, time.Now()
	answer := struct{ ServerURL, Username, Secret string }{server, credential.Username, credential.Password}
	if credential.IdentityToken != "" {
		answer.Username, answer.Secret = identityTokenUser, credential.IdentityToken
	}
	raw, err := json.Marshal(answer)
	return string(raw), err
}

// credential returns the credentials of a registry that the build accesses.
func (h *helperServer) credential(ctx context.Context, server string) (identity.Credential, error) {
	repositories, err := h.repositories()
	if err != nil {
		return identity.Credential{}, err
	}
	for _, repository := range repositories {
		if repository.RegistryStr() != server {
			continue
		}
		credential, found, err := h.Registry.Credentials.FreshIdentity(ctx, repository)
		if err != nil {
			return identity.Credential{}, failure.OfRegistry(err)
		}
		if found {
			return credential, nil
		}
	}
	return identity.Credential{}, failure.New(v1alpha1.ReasonRegistryUnauthorized, "the image builder has no credentials for the registry %s any more: %s", server, h.Registry.Credentials.Account(h.Target.Repository))
}

// explain returns the failure of Kaniko, with what the helper knows of it.
func (h *helperServer) explain(err error) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		return nil
	}
	if h.err != nil {
		return h.err
	}
	var f *failure.Error
	if errors.As(err, &f) && f.Reason == v1alpha1.ReasonRegistryUnauthorized && h.server != "" && time.Now().After(h.last.Expires) {
		expired := failure.New(f.Reason, "the token of %s for %s expired while Kaniko pushed, and Kaniko cannot renew it during a push: use the engine Stream, which can, or create a Secret (%s)", h.last.Account, h.server, f.Message).WithCause(f.Cause)
		expired.Transient = h.last.Expires.Sub(h.served) < shortLifetime
		return expired
	}
	return err
}

// repositories returns the repositories that the build accesses, the one to push to
// first.
func (in Input) repositories() ([]name.Repository, error) {
	repositories := []name.Repository{in.Target.Repository}
	if in.Base.IsScratch() {
		return repositories, nil
	}
	base, err := in.Registry.Reference(in.Base.Reference)
	if err != nil {
		return nil, fmt.Errorf("find the base image's repository: %w", err)
	}
	return append(repositories, base.Context()), nil
}
