package controller

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"k8s.io/apimachinery/pkg/types"

	"github.com/modelkiln/modelkiln/test/builders"
)

func TestPreparedNamespaces(t *testing.T) {
	namespace := namespaceMetadata()
	namespace.Name, namespace.UID = "team", types.UID("first")
	recreated := namespace.DeepCopy()
	recreated.UID = types.UID("second")
	var p preparedNamespaces
	assert.False(t, p.recently(namespace, builders.Epoch))

	p.add(namespace, builders.Epoch)
	assert.True(t, p.recently(namespace, builders.Epoch.Add(time.Second)))
	assert.False(t, p.recently(namespace, builders.Epoch.Add(time.Hour)), "its objects may have been deleted since")
	assert.False(t, p.recently(recreated, builders.Epoch.Add(time.Second)), "another namespace of the same name")

	p.forget("team")
	assert.False(t, p.recently(namespace, builders.Epoch.Add(time.Second)))
}
