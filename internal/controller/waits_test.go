package controller

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/test/builders"
)

func TestWaitsSince(t *testing.T) {
	key, other := types.NamespacedName{Namespace: "default", Name: "mv-3"}, types.NamespacedName{Namespace: "default", Name: "mv-4"}
	at := func(minutes int) time.Time { return builders.Epoch.Add(time.Duration(minutes) * time.Minute) }
	w := &waits{}
	for _, pass := range []struct {
		name string
		key  types.NamespacedName
		what string
		now  int
		want int
	}{
		{"first pass", key, "pod-1", 0, 0},
		{"same wait", key, "pod-1", 5, 0},
		{"another ModelVersion", other, "pod-1", 6, 6},
		{"another pod", key, "pod-2", 7, 7},
		{"no wait", key, "", 8, 8},
		{"the pod waits again", key, "pod-2", 9, 9},
		{"the clock was set back", key, "pod-2", 3, 9},
		{"the other one still waits", other, "pod-1", 10, 6},
	} {
		assert.Equal(t, at(pass.want), w.since(pass.key, pass.what, at(pass.now)), pass.name)
	}

	w.forget(key)
	w.since(other, "", at(11))
	assert.Empty(t, w.begun, "what has ended is not kept")
}

// What a Workflow waits for has the name that a user can have written into its status.
func TestWaitsKeepNoNames(t *testing.T) {
	w := &waits{}
	const count, size = 64, 1 << 20
	heap := func() uint64 {
		runtime.GC()
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	before := heap()
	for i := range count {
		w.since(types.NamespacedName{Name: fmt.Sprint("mv-", i)}, strings.Repeat("x", size)+fmt.Sprint(i), builders.Epoch)
	}
	assert.Less(t, heap(), before+size, "of %d bytes", count*size)
	assert.Len(t, w.begun, count)
}
