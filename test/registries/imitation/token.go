package imitation

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelkiln/modelkiln/test/registries/proxy"
)

// tokenPath is the path of the token service.
const tokenPath = "/token"

// Tokens is a registry with a token service. Tokens live for a duration, and are for
// those whom the function lets in; everyone if it is nil.
func Tokens(life time.Duration, allowed func(user, password string) bool) proxy.Behavior {
	var issued atomic.Int64
	var expiries sync.Map
	return proxy.Instead(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == tokenPath {
			if user, password, _ := r.BasicAuth(); allowed != nil && !allowed(user, password) {
				return refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "incorrect username or password")
			}
			token := fmt.Sprint("token-", issued.Add(1))
			expiries.Store(token, time.Now().Add(life))
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "expires_in": int(life.Seconds())})
			return true
		}
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		if expiry, found := expiries.Load(token); found && time.Now().Before(expiry.(time.Time)) {
			return false
		}
		scheme := "http"
		if r.TLS != nil {
			scheme = "https"
		}
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s://%s%s",service="registry",scope="repository:%s:pull,push"`, scheme, r.Host, tokenPath, proxy.Repository(r)))
		return refuse(w, http.StatusUnauthorized, "UNAUTHORIZED", "authentication required")
	})
}
