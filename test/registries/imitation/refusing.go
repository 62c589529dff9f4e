package imitation

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// Refusing are registries that refuse a push in their own words.
var Refusing = []Imitation{
	{
		Name:   "Amazon ECR, repository that nobody created",
		Habits: []Habit{{"A push to a repository that does not exist is answered with 404.", "https://docs.aws.amazon.com/AmazonECR/latest/userguide/docker-push-ecr-image.html"}},
		Behave: always(func() proxy.Behavior {
			return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
				repository := proxy.Repository(r)
				return repository != "" && refuse(w, http.StatusNotFound, "NAME_UNKNOWN", "The repository with name '%s' does not exist in the registry with id '123456789012'", repository)
			})
		}),
	},
	{
		Name:   "Amazon ECR, immutable tags",
		Habits: []Habit{{"A tag that was pushed meanwhile is answered with 400.", "https://github.com/aws/containers-roadmap/issues/862"}},
		Behave: refuseTag(http.StatusBadRequest, "TAG_INVALID", "The image tag '%[2]s' already exists in the '%[1]s' repository and cannot be overwritten because the repository is immutable."),
	},
	{
		Name:   "Harbor, immutable tags",
		Habits: []Habit{{"A tag that was pushed meanwhile is answered with 412.", "https://github.com/goharbor/harbor/pull/9427"}},
		Behave: refuseTag(http.StatusPreconditionFailed, "PRECONDITION", "Failed to process request due to '%[1]s:%[2]s' configured as immutable."),
	},
	{
		Name:   "Harbor, quota",
		Habits: []Habit{{"A project that is full is answered with 403.", "https://github.com/goharbor/harbor/issues/8802"}},
		Behave: always(func() proxy.Behavior {
			return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
				return r.Method == http.MethodPut &&
					refuse(w, http.StatusForbidden, "DENIED", "adding 2.0 GiB of storage resource, which when updated to current usage of 9.0 GiB will exceed the configured upper limit of 10.0 GiB.")
			})
		}),
	},
	{
		Name:   "Docker Hub, repository of another user",
		Habits: []Habit{{"A token without the permission to push is answered with 401 and `insufficient_scope`.", "https://github.com/distribution/distribution/issues/1291"}},
		Behave: always(func() proxy.Behavior {
			return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
				if proxy.IsRead(r) {
					return false
				}
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="http://%s/token",service="registry.docker.io",scope="repository:%s:pull,push",error="insufficient_scope"`, r.Host, proxy.Repository(r)))
				return refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
			})
		}),
	},
}

// refuseTag refuses every manifest that is pushed under a tag. The format has the
// repository and the tag.
func refuseTag(status int, code, format string) func(*testing.T, string, proxy.Behavior) proxy.Behavior {
	return always(func() proxy.Behavior {
		return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
			tag := proxy.Tag(r)
			return r.Method == http.MethodPut && tag != "" && !strings.Contains(tag, ":") && refuse(w, status, code, format, proxy.Repository(r), tag)
		})
	})
}
