package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/workflow/contract"
)

// namespace is that of all objects.
const namespace = "bench"

// operatorUser is the user of the operator, whose requests the API server logs.
const operatorUser = "modelkiln"

// auditPolicy has the API server log the requests of the operator only.
const auditPolicy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived, ResponseStarted]
rules:
  - {level: Metadata, users: [` + operatorUser + `]}
  - {level: None}
`

// server is a kube-apiserver with its etcd.
type server struct {
	environment *envtest.Environment
	config      *rest.Config
	client      client.Client
	// kubeconfig is the path of the operator's.
	kubeconfig string
	audit      *auditLog
}

// startServer starts an API server that has the namespace, the CRDs and a template.
func startServer(ctx context.Context, dir string) (*server, error) {
	dir, err := os.MkdirTemp(dir, "server-")
	if err != nil {
		return nil, err
	}
	policy, log := filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "audit.log")
	if err := errors.Join(os.WriteFile(policy, []byte(auditPolicy), 0o600), os.WriteFile(log, nil, 0o600)); err != nil {
		return nil, err
	}
	argo, err := argoCRDs(ctx)
	if err != nil {
		return nil, err
	}
	s := &server{kubeconfig: filepath.Join(dir, "kubeconfig")}
	s.environment = &envtest.Environment{ControlPlaneStopTimeout: time.Minute, CRDInstallOptions: envtest.CRDInstallOptions{Paths: []string{"deploy/crd", argo}, ErrorIfPathMissing: true}}
	s.environment.ControlPlane.GetAPIServer().Configure().
		Append("audit-policy-file", policy).Append("audit-log-path", log).
		Append("audit-log-mode", "batch").Append("audit-log-batch-max-wait", "200ms").Append("audit-log-batch-buffer-size", "100000")
	config, err := s.environment.Start()
	if err != nil {
		return nil, err
	}
	if err := s.writeKubeconfig(); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	config.QPS = -1
	s.config = config
	if s.client, err = client.New(config, client.Options{Scheme: newScheme()}); err != nil {
		return nil, errors.Join(err, s.stop())
	}
	for _, object := range []client.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		&wfv1.ClusterWorkflowTemplate{ObjectMeta: metav1.ObjectMeta{Name: contract.BuildTemplate}},
	} {
		if err := s.client.Create(ctx, object); err != nil {
			return nil, errors.Join(err, s.stop())
		}
	}
	s.audit, err = openAuditLog(log)
	return s, err
}

// writeKubeconfig writes the operator's kubeconfig.
func (s *server) writeKubeconfig() error {
	user, err := s.environment.AddUser(envtest.User{Name: operatorUser, Groups: []string{"system:masters"}}, nil)
	if err != nil {
		return err
	}
	kubeconfig, err := user.KubeConfig()
	if err != nil {
		return err
	}
	return os.WriteFile(s.kubeconfig, kubeconfig, 0o600)
}

// watch calls a function with each object of a kind that is created or changes, until the
// context is canceled.
func (s *server) watch(ctx context.Context, kind client.Object, each func(object any, isNew bool)) error {
	c, err := cache.New(s.config, cache.Options{Scheme: newScheme()})
	if err != nil {
		return err
	}
	informer, err := c.GetInformer(ctx, kind, cache.BlockUntilSynced(false))
	if err != nil {
		return err
	}
	if _, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { each(o, true) },
		UpdateFunc: func(_, o any) { each(o, false) },
	}); err != nil {
		return err
	}
	go func() { _ = c.Start(ctx) }()
	if !c.WaitForCacheSync(ctx) {
		return fmt.Errorf("watch %T: the cache was not filled", kind)
	}
	return nil
}

func (s *server) stop() error {
	if s.audit != nil {
		_ = s.audit.file.Close()
	}
	return s.environment.Stop()
}

// argoCRDs returns the directory of Argo's minimal CRDs.
func argoCRDs(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", "github.com/argoproj/argo-workflows/v3").Output()
	if err != nil {
		return "", fmt.Errorf("find Argo's module: %w", err)
	}
	return filepath.Join(strings.TrimSpace(string(out)), "manifests", "base", "crds", "minimal"), nil
}

func newScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, wfv1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			panic(err) // The types are registered twice.
		}
	}
	return scheme
}

// auditLog reads the API server's log of the operator's requests.
type auditLog struct {
	file   *os.File
	reader *bufio.Reader
	// partial is the beginning of a line that is still being written.
	partial []byte
}

func openAuditLog(path string) (*auditLog, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	return &auditLog{file: file, reader: bufio.NewReader(file)}, nil
}

// auditEvent is what is read of a line of the log.
type auditEvent struct {
	Verb      string
	ObjectRef *struct{ Resource, Subresource string }
	Received  time.Time `json:"requestReceivedTimestamp"`
}

// next returns the requests since the last call. Watches and leases are left out.
func (a *auditLog) next() (requests, error) {
	r := requests{count: map[string]int{}}
	for {
		line, err := a.reader.ReadBytes('\n')
		a.partial = append(a.partial, line...)
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		var event auditEvent
		err = json.Unmarshal(a.partial, &event)
		a.partial = a.partial[:0]
		if err != nil {
			return r, fmt.Errorf("read the audit log: %w", err)
		}
		r.add(event)
	}
}

// settle returns the requests until there was none for this long.
func (a *auditLog) settle(ctx context.Context, quiet time.Duration) (requests, error) {
	all, last := requests{count: map[string]int{}}, time.Now()
	for time.Since(last) < quiet {
		if err := pause(ctx, quiet/10); err != nil {
			return all, err
		}
		more, err := a.next()
		if err != nil {
			return all, err
		}
		if len(more.count) > 0 {
			last = time.Now()
		}
		all.join(more)
	}
	return all, nil
}

// pause waits, since what does not happen causes no event.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
