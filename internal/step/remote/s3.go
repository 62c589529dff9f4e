package remote

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/modelkiln/modelkiln/api/v1alpha1"
	"github.com/modelkiln/modelkiln/internal/layer"
	"github.com/modelkiln/modelkiln/internal/registry"
	"github.com/modelkiln/modelkiln/internal/step/failure"
	"github.com/modelkiln/modelkiln/internal/step/source"
)

// defaultRegion is the region of buckets of which another one is not known. Most other
// servers accept it.
const defaultRegion = "us-east-1"

// s3 is a prefix of a bucket.
type s3 struct {
	*server
	location *S3
	client   minio.Core
	options  minio.Options
	keys     *keys

	mu sync.Mutex
	// versions are the version IDs of the objects that were read, by path, in a bucket
	// with versioning.
	versions map[string]string
}

// openS3 returns the files below the prefix of a bucket. It sends no request.
func openS3(ctx context.Context, location *S3, access Access) (source.Files, error) {
	if location.Prefix == "" {
		return nil, failure.New(v1alpha1.ReasonInvalidSpec, "a build packages a prefix of a bucket and not the whole bucket: set storage.s3.prefix")
	}
	if err := access.S3Rules.Check(location.endpoint(), location.Bucket, location.Prefix); err != nil {
		return nil, forbidden(err)
	}
	if err := s3utils.CheckValidBucketName(location.Bucket); err != nil {
		return nil, failure.New(v1alpha1.ReasonInvalidSpec, "%q is not the name of a bucket: correct storage.s3.bucket: %v", shown(location.Bucket), err)
	}
	endpoint, err := parseEndpoint(location.endpoint())
	if err != nil {
		return nil, err
	}
	transport, err := newTransport(access.CAFile)
	if err != nil {
		return nil, err
	}
	// Clouds have their token services at link-local addresses, too.
	forTokens, err := registry.NewTransport(access.CAFile)
	if err != nil {
		return nil, err
	}
	region := cmp.Or(location.Region, s3utils.GetRegionFromURL(*endpoint), defaultRegion)
	keys, err := newKeys(ctx, endpoint, region, access.SecretDir, forTokens)
	if err != nil {
		return nil, err
	}
	s := &s3{server: &server{name: nameOfS3(endpoint), secrets: keys.secrets, hint: "ask the platform team to add the host to allowedS3"}, location: location, keys: keys, versions: map[string]string{}}
	s.options = minio.Options{
		Creds: credentials.New(keys), Secure: endpoint.Scheme == "https", Region: region,
		Transport: &lists{inner: newGuard(ctx, transport, access, s3Hosts(endpoint, location.Bucket))},
		// This package sends failed requests again.
		MaxRetries: 1,
	}
	if err := s.connect(endpoint); err != nil {
		return nil, err
	}
	return newFiles(s, s.server, transport, access.delay), nil
}

// connect makes the client. It sends no request.
func (s *s3) connect(endpoint *url.URL) error {
	client, err := minio.NewCore(endpoint.Host, &s.options)
	if err != nil {
		return failure.New(v1alpha1.ReasonInvalidSpec, "%q cannot be used as storage.s3.endpoint: %s", endpoint.Host, s.quote(err.Error()))
	}
	client.SetS3EnableDualstack(strings.Contains(endpoint.Host, ".dualstack."))
	s.client = *client
	return nil
}

// nameOfS3 returns what messages call a server.
func nameOfS3(endpoint *url.URL) string {
	if isAmazon(endpoint) {
		return "Amazon S3"
	}
	return "the object store " + endpoint.Host
}

// isAmazon reports whether an endpoint is one of Amazon S3. The library also takes names
// for such that only look similar.
func isAmazon(endpoint *url.URL) bool {
	domain := strings.TrimSuffix(endpoint.Host, ".cn")
	return s3utils.IsAmazonEndpoint(*endpoint) && strings.HasSuffix(domain, ".amazonaws.com")
}

// amazonS3 matches the hosts of the regions of Amazon S3, of which the endpoint is an
// alias (https://docs.aws.amazon.com/general/latest/gr/s3.html).
var amazonS3 = regexp.MustCompile(`\As3(-fips)?(\.dualstack)?([.-][a-z0-9-]+)?\.amazonaws\.com(\.cn)?\z`)

// s3Hosts returns which addresses belong to a bucket: its endpoint, with the bucket as
// a subdomain or not, and for Amazon S3 also that of its region.
func s3Hosts(endpoint *url.URL, bucket string) func(*url.URL) bool {
	return func(to *url.URL) bool {
		host := strings.TrimPrefix(to.Host, bucket+".")
		return to.Scheme == endpoint.Scheme && (host == endpoint.Host || isAmazon(endpoint) && amazonS3.MatchString(host))
	}
}

// list lists the objects. If the server reports that the bucket is in another region,
// and none was requested, that region is used from then on.
func (s *s3) list(ctx context.Context, add func(object) error) error {
	err := s.listOnce(ctx, add)
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.Region == "" || answer.Region == s.options.Region || s.location.Region != "" {
		return s.explain(ctx, err, layer.RootDir)
	}
	s.location.Region, s.options.Region = answer.Region, answer.Region
	if err := s.connect(s.client.EndpointURL()); err != nil {
		return err
	}
	return s.explain(ctx, s.listOnce(ctx, add), layer.RootDir)
}

// listOnce lists the objects. Its error is that of the library, or of add.
func (s *s3) listOnce(ctx context.Context, add func(object) error) error {
	prefix := s.location.Prefix + "/"
	// It lets the library end its requests.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	found, markers := false, 0
	for info := range s.client.ListObjectsIter(ctx, s.location.Bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if info.Err != nil {
			return info.Err
		}
		found = true
		o, ok, err := objectOf(prefix, s.identityOf(""), info)
		if err != nil {
			return err
		}
		if !ok {
			if markers++; markers > 1 {
				return unsafePath(info.Key, "is listed twice: check the object store")
			}
			continue
		}
		if err := add(o); err != nil {
			return err
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if !found {
		return failure.New(v1alpha1.ReasonSourceMissing, "the bucket %s has no objects below %q: put the model there, or correct storage.s3.prefix; list it with: aws s3 ls s3://%s/", s.location.Bucket, shown(prefix), s.location.Bucket)
	}
	return nil
}

// identityOf returns the identity of objects with an ETag. Two stores may give the same
// ETag to different objects, so it names the bucket, too.
func (s *s3) identityOf(etag string) string {
	return etagIdentity + s.location.endpoint() + "/" + s.location.Bucket + "/" + etag
}

// objectOf returns an object as a file or a directory, with this beginning of the
// identities of all. It returns false for the one that stands for the prefix itself.
func objectOf(prefix, identity string, info minio.ObjectInfo) (object, bool, error) {
	name, below := strings.CutPrefix(info.Key, prefix)
	if !below {
		return object{}, false, unsafePath(info.Key, "is listed although it is not below the prefix: check the object store")
	}
	o := object{size: info.Size, modTime: info.LastModified, archived: isArchived(info)}
	if info.ETag != "" {
		o.identity = identity + info.ETag
	}
	// Consoles create objects without content for directories.
	o.path, o.dir = strings.CutSuffix(name, "/")
	switch {
	case o.size < 0:
		return object{}, false, unsafePath(info.Key, "is listed with a negative size: check the object store")
	case (o.dir || name == "") && o.size > 0:
		return object{}, false, unsafePath(info.Key, "has content and the name of a directory: rename the object")
	}
	return o, name != "", nil
}

// isArchived reports whether an object is in a class whose objects must be restored
// before they can be read. A restored one still is in it.
func isArchived(info minio.ObjectInfo) bool {
	return info.StorageClass == "GLACIER" || info.StorageClass == "DEEP_ARCHIVE"
}

// get reads an object on the condition that it is the one that was listed.
func (s *s3) get(ctx context.Context, planned layer.Entry, offset, length int64) (io.ReadCloser, error) {
	var options minio.GetObjectOptions
	options.Set("Range", rangeOf(offset, length))
	etag, listed := strings.CutPrefix(planned.Identity, s.identityOf(""))
	if listed {
		options.Set("If-Match", `"`+etag+`"`)
	} else {
		// Lists of some servers have whole seconds, and their objects do not.
		options.Set("If-Unmodified-Since", modified(planned).Add(time.Second).Format(http.TimeFormat))
	}
	key := s.location.Prefix + "/" + planned.Path
	content, info, header, err := s.client.GetObject(ctx, s.location.Bucket, key, options)
	if err != nil {
		return nil, s.explain(ctx, err, planned.Path)
	}
	err = s.checkPart(header, planned, offset)
	// Servers exist that ignore the condition, and one with a time has a second too many.
	if err == nil && (listed && info.ETag != etag || !listed && !info.LastModified.Equal(modified(planned)) || !s.isSameVersion(planned.Path, info.VersionID)) {
		err = source.Changing(planned.Path)
	}
	if err != nil {
		_ = content.Close()
		return nil, err
	}
	return content, nil
}

// isSameVersion reports whether an object has the version ID with which it was read
// first. Two objects can have the same ETag, of which many are an MD5, or the same time.
// The version is not requested, which takes the permission s3:GetObjectVersion: a build
// whose objects change fails in any case. Without versioning, there is no ID, or it is
// always "null".
func (s *s3) isSameVersion(name, version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, known := s.versions[name]
	if !known && version != "" {
		s.versions[name] = version
	}
	return !known || first == version
}

// modified returns when a planned file was last changed, in whole seconds, which headers
// have.
func modified(planned layer.Entry) time.Time {
	return time.Unix(0, planned.ModTime).UTC().Truncate(time.Second)
}
