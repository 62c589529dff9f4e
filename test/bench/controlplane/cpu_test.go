package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestCPUOfChild(t *testing.T) {
	const stat = "31579 (kube-apiserver) S 4711 31579 22850 0 -1 4194304 82394 0 120 0 1230 70 0 0 20 0 15 0 8616 1310 102203"
	const second = 100 * tick
	assert.Equal(t, 13*second, cpuOfChild(stat, 4711, []string{"etcd", "kube-apiserver"}))
	assert.Zero(t, cpuOfChild(stat, 4711, []string{"etcd"}))
	assert.Zero(t, cpuOfChild(stat, 1, []string{"kube-apiserver"}), "another one's")
	assert.Equal(t, time.Second, second)
}
