// Package layer plans which files of a model go into which layer of its image.
//
// What is packaged:
//   - Regular files and directories, including empty directories and hidden
//     names. A file with several hard links is packaged once for each.
//   - A relative symbolic link to something packaged stays a link: images are
//     loaded with cp -r, which keeps links. A link that is absolute, points
//     outside the model, is dangling or is part of a loop is rejected, because it
//     would mean something else in a container.
//   - Sockets, pipes and devices have no content, and a top-level lost+found
//     belongs to the disk: they are skipped and counted.
//   - A name that is not valid UTF-8 is rejected, because neither the archive nor
//     the manifest can carry it unchanged; so is a name that begins with ".wh.",
//     by which a layer marks a file of a lower layer as deleted.
//   - Directories get the mode 0755; files get 0644, or 0755 if anyone may execute
//     them. Everything is owned by 0:0, and modification times are the source's. So
//     anyone can read the model, and the same files give the same entries no matter
//     where they were copied from.
//   - What a Filter excludes is left out, and counted, as are the directories in which
//     nothing else is.
//
// How it is partitioned: a file of at least the layer size gets its own layer, so
// that layers are pushed and pulled in parallel and a new ModelVersion transfers
// only the files that changed. Smaller files share layers of at most that size
// with their neighbors in path order; directories and links are in the first
// layer. If that gives more layers than the limit, the layer size is doubled until
// it does not.
//
// Everything here is a pure function: other packages list the files.
package layer
