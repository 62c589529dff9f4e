package controller

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fakePages is a reader of two pages with a Job each, as an API server sends them:
// the last one does not mention that it is the last one.
type fakePages struct {
	client.Reader
	requests []client.ListOptions
	err      error
}

func (f *fakePages) List(_ context.Context, list client.ObjectList, options ...client.ListOption) error {
	o := client.ListOptions{}
	o.ApplyOptions(options)
	f.requests = append(f.requests, o)
	jobs := list.(*batchv1.JobList)
	jobs.Items = append(jobs.Items, batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("job-%d", len(f.requests))}})
	if o.Continue == "" {
		jobs.Continue = "second"
		return nil
	}
	return f.err
}

func TestListPages(t *testing.T) {
	for name, broken := range map[string]error{"all": nil, "the second page fails": errors.New("expired")} {
		t.Run(name, func(t *testing.T) {
			reader := &fakePages{err: broken}
			var found []string
			err := listPages(t.Context(), reader, &batchv1.JobList{}, "team", func(page client.ObjectList) {
				for _, job := range page.(*batchv1.JobList).Items {
					found = append(found, job.Name)
				}
			})
			require.Equal(t, []client.ListOptions{{Namespace: "team", Limit: pageSize}, {Namespace: "team", Limit: pageSize, Continue: "second"}}, reader.requests)
			if broken == nil {
				require.NoError(t, err)
				assert.Equal(t, []string{"job-1", "job-2"}, found)
				return
			}
			require.ErrorIs(t, err, broken)
			assert.Equal(t, []string{"job-1"}, found)
		})
	}
}
