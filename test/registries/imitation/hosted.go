package imitation

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// HarborPolicy is the name of a Harbor with a policy for what is pulled.
const HarborPolicy = "Harbor that scans images"

// Hosted are the registries that companies host, and those that run in data centers.
var Hosted = []Imitation{
	{
		Name: "Amazon ECR",
		Habits: []Habit{
			{"A `PATCH` is answered with 201, and its `Range` ends where the first request did.", "https://github.com/aws/containers-roadmap/issues/2831"},
			{"The status of an upload is not to be had: 404.", "https://github.com/openai/tart/issues/273"},
		},
		Behave: always(ecr),
	},
	{
		Name:   "GitHub Container Registry",
		Habits: []Habit{{"A `PATCH` with a range of more than 4 MiB is answered with 416; one without a range may have any size.", "https://github.com/oras-project/rust-oci-client/issues/35"}},
		Behave: always(ghcr),
	},
	{
		Name: "Google Artifact Registry",
		Habits: []Habit{
			{"An upload takes one `PATCH`; another one is answered with 400.", "https://github.com/dotnet/sdk-container-builds/pull/287"},
			{"`HEAD` of a blob has no `Content-Length`.", "https://github.com/distribution/distribution/issues/4895"},
		},
		Behave: always(artifactRegistry),
	},
	{
		Name:   HarborPolicy,
		Habits: []Habit{{"A manifest that was pushed is answered with 412 until it is scanned or signed.", "https://github.com/goharbor/harbor/issues/22650"}},
		Behave: always(harborPolicy),
	},
	{
		Name:   "Artifactory, virtual repository",
		Habits: []Habit{{"A manifest that is not there is answered with 403, until it is pushed.", "https://github.com/google/go-containerregistry/pull/1691"}},
		Behave: artifactory,
	},
	{
		Name:   "Quay",
		Habits: []Habit{{"A repository that is not there is answered with 401, until something is pushed.", "https://github.com/giantswarm/retagger/pull/353"}},
		Behave: quay,
	},
	{
		Name:   "Docker Hub",
		Habits: []Habit{{"Every third request for a manifest is answered with 429 and `Retry-After`.", "https://github.com/GoogleContainerTools/kaniko/issues/2399"}},
		Behave: always(dockerHub),
	},
}

func ecr() proxy.Behavior {
	var firstEnd sync.Map
	return proxy.All(
		proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
			return proxy.IsUpload(r) && r.Method == http.MethodGet &&
				refuse(w, http.StatusNotFound, "BLOB_UPLOAD_UNKNOWN", "The upload with id '%s' could not be found", r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
		}),
		proxy.Edit(func(r *http.Request, code int, header http.Header) int {
			if r.Method != http.MethodPatch || code != http.StatusAccepted {
				return code
			}
			end, _ := firstEnd.LoadOrStore(r.URL.Path, header.Get("Range"))
			header.Set("Range", end.(string))
			return http.StatusCreated
		}),
	)
}

func ghcr() proxy.Behavior {
	const limit = 4 << 20
	return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		return r.Method == http.MethodPatch && r.Header.Get("Content-Range") != "" && r.ContentLength > limit &&
			refuse(w, http.StatusRequestedRangeNotSatisfiable, "REQUESTED_RANGE_NOT_SATISFIABLE", "the request body is too large and exceeds the maximum permissible limit of 4.00MiB")
	})
}

func artifactRegistry() proxy.Behavior {
	patched := &set{}
	return proxy.All(
		proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method != http.MethodPatch {
				return false
			}
			defer patched.add(r.URL.Path)
			return patched.has(r.URL.Path) && refuse(w, http.StatusBadRequest, "BLOB_UPLOAD_INVALID", "the registry does not support chunked uploads")
		}),
		proxy.Edit(func(r *http.Request, code int, header http.Header) int {
			if r.Method == http.MethodHead && proxy.IsBlob(r) {
				header.Del("Content-Length")
			}
			return code
		}),
	)
}

func harborPolicy() proxy.Behavior {
	pushed, record := pushedManifests()
	return proxy.All(
		proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
			return proxy.IsRead(r) && pushed.isPushed(r) &&
				refuse(w, http.StatusPreconditionFailed, "PROJECTPOLICYVIOLATION", "current image without vulnerability scanning cannot be pulled due to configured policy in 'Prevent images with vulnerability severity of \"High\" or higher from running.'")
		}),
		record,
	)
}

func artifactory(_ *testing.T, registry string, _ proxy.Behavior) proxy.Behavior {
	forward := proxy.Forward(registry)
	return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		return proxy.IsRead(r) && proxy.Tag(r) != "" && !exists(forward, r, r.URL.Path) &&
			refuse(w, http.StatusForbidden, "DENIED", "The client does not have permission to pull from the repository.")
	})
}

func quay(_ *testing.T, registry string, _ proxy.Behavior) proxy.Behavior {
	forward, begun := proxy.Forward(registry), &set{}
	return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		repository := proxy.Repository(r)
		if r.Method == http.MethodPost {
			begun.add(repository)
		}
		if repository == "" || begun.has(repository) || exists(forward, r, "/v2/"+repository+"/tags/list") {
			return false
		}
		return refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "access to the requested resource is not authorized")
	})
}

func dockerHub() proxy.Behavior {
	var asked atomic.Int64
	return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if !proxy.IsRead(r) || proxy.Tag(r) == "" || asked.Add(1)%3 != 0 {
			return false
		}
		w.Header().Set("Retry-After", "1")
		return refuse(w, http.StatusTooManyRequests, "TOOMANYREQUESTS", "You have reached your pull rate limit. You may increase the limit by authenticating and upgrading: https://www.docker.com/increase-rate-limit")
	})
}
