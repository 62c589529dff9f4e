package controller

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"
)

func TestReplacedStates(t *testing.T) {
	one, other := types.NamespacedName{Name: "one"}, types.NamespacedName{Name: "other"}
	var s replacedStates
	assert.False(t, s.has(one, "1"))

	s.add(one, "1")
	s.add(one, "2")
	assert.True(t, s.has(one, "1"))
	assert.True(t, s.has(one, "2"))
	assert.False(t, s.has(other, "1"))
	assert.False(t, s.has(one, "3"), "the cache has both writes")
	assert.Empty(t, s.all)

	s.add(one, "3")
	s.forget(one)
	assert.Empty(t, s.all)
}
