package command

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
)

// until calls done with the objects that match, and with every change of them after
// that, until done returns true or an error.
func (c *cluster) until(ctx context.Context, newList func() client.ObjectList, opts *client.ListOptions, done watchtools.ConditionFunc) error {
	watcher := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		all := *opts
		all.Raw = &options
		return c.Watch(ctx, newList(), &all)
	}}
	for {
		list := newList()
		if err := c.List(ctx, list, opts); err != nil {
			return err
		}
		finished := false
		err := meta.EachListItem(list, func(object runtime.Object) (err error) {
			if !finished {
				finished, err = done(watch.Event{Type: watch.Added, Object: object})
			}
			return err
		})
		if err == nil && !finished {
			_, err = watchtools.Until(ctx, list.GetResourceVersion(), watcher, done)
		}
		switch {
		case err != nil && ctx.Err() != nil:
			return ctx.Err()
		case apierrors.IsResourceExpired(err), apierrors.IsGone(err), errors.Is(err, watchtools.ErrWatchClosed):
			// The API server has forgotten the changes since then: list again.
		default:
			return err
		}
	}
}

// untilVersion calls done with a ModelVersion, now and after every change, until done
// returns true or an error.
func (c *cluster) untilVersion(ctx context.Context, name string, done func(mv *v1alpha1.ModelVersion) (bool, error)) error {
	opts := &client.ListOptions{Namespace: c.namespace}
	client.MatchingFields{"metadata.name": name}.ApplyToList(opts)
	return c.until(ctx, func() client.ObjectList { return &v1alpha1.ModelVersionList{} }, opts, func(event watch.Event) (bool, error) {
		mv, ok := event.Object.(*v1alpha1.ModelVersion)
		switch {
		case event.Type == watch.Error:
			return false, apierrors.FromObject(event.Object)
		case !ok:
			return false, nil
		case event.Type == watch.Deleted:
			return false, fmt.Errorf("ModelVersion %s was deleted", name)
		default:
			return done(mv)
		}
	})
}
