/* Records what a process does to the files of one folder; preloaded, it sees every call of the C
 * library. A frame is a head, a path and data; frames.py reads them, and says what they mean.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OPEN = 1, CLOSE, WRITE, RESIZE, SYNC, RENAME, UNLINK, MKDIR, MARK, UNSEEN };
enum { WATCHED = 1, SYNCED = 2 };

struct head {
    uint32_t kind;
    int32_t descriptor;
    int64_t number, unused;
    uint32_t path, data;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static int active, record = -1, pipe_end = -1;
static int64_t frames;
static char folder[4096];
static unsigned char state[65536]; /* by descriptor */

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)
#define LOCK pthread_mutex_lock(&mutex)
#define UNLOCK { int kept = errno; pthread_mutex_unlock(&mutex); errno = kept; }

static void put(const void *from, size_t size) {
    const char *bytes = from;
    while (size) {
        long done = syscall(SYS_write, record, bytes, size);
        if (done < 0) abort();
        bytes += done;
        size -= (size_t)done;
    }
}

static void tell(uint32_t kind, int descriptor, int64_t number, const char *path,
                 const void *data, size_t size) {
    int kept = errno;
    struct head head = {kind, descriptor, number, 0, (uint32_t)strlen(path), (uint32_t)size};
    put(&head, sizeof head);
    put(path, head.path);
    put(data, size);
    frames++;
    errno = kept;
}

void recorder_begin(const char *of, const char *log, int pipe) {
    snprintf(folder, sizeof folder, "%s", of);
    record = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    pipe_end = pipe;
    frames = 0;
    active = record >= 0;
}

void recorder_end(void) { active = 0; }

static int watched(int descriptor) {
    return active && descriptor >= 0 && descriptor < (int)sizeof state && state[descriptor];
}

/* Copy the path relative to the folder; 0 if it is not in it. */
static int inside(int at, const char *path, char *relative) {
    char full[8192];
    size_t length = strlen(folder);
    if (!active || !path) return 0;
    if (path[0] == '/') snprintf(full, sizeof full, "%s", path);
    else {
        char start[4096] = "", link[64];
        if (at == AT_FDCWD) { if (!getcwd(start, sizeof start)) return 0; }
        else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            if (readlink(link, start, sizeof start - 1) < 0) return 0;
        }
        snprintf(full, sizeof full, "%s/%s", start, path);
    }
    if (strncmp(full, folder, length) || (full[length] && full[length] != '/')) return 0;
    snprintf(relative, 4096, "%s", full[length] ? full + length + 1 : "");
    return 1;
}

static int opened(int at, const char *path, int flags, mode_t mode) {
    REAL(int, "openat64", int, const char *, int, ...);
    char name[4096];
    struct stat before;
    if (!inside(at, path, name)) return real(at, path, flags, mode);
    LOCK;
    int is_new = fstatat(at, path, &before, AT_SYMLINK_NOFOLLOW) < 0;
    int descriptor = real(at, path, flags, mode);
    if (descriptor >= 0 && descriptor < (int)sizeof state) {
        state[descriptor] = WATCHED | (flags & (O_DSYNC | O_SYNC) ? SYNCED : 0);
        tell(OPEN, descriptor, is_new + (flags & O_TRUNC ? 2 : 0), name, "", 0);
    }
    UNLOCK;
    return descriptor;
}

static mode_t mode_of(int flags, va_list arguments) {
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

#define OPENER(name, at, ...) \
    int name(__VA_ARGS__, int flags, ...) { \
        va_list arguments; \
        va_start(arguments, flags); \
        mode_t mode = mode_of(flags, arguments); \
        va_end(arguments); \
        return opened(at, path, flags, mode); \
    }
OPENER(open, AT_FDCWD, const char *path)
OPENER(open64, AT_FDCWD, const char *path)
OPENER(openat, at, int at, const char *path)
OPENER(openat64, at, int at, const char *path)
int __open_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int __open64_2(const char *path, int flags) { return opened(AT_FDCWD, path, flags, 0); }
int creat(const char *path, mode_t mode) {
    return opened(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode);
}

int close(int descriptor) {
    REAL(int, "close", int);
    if (!watched(descriptor)) return real(descriptor);
    LOCK;
    state[descriptor] = 0;
    tell(CLOSE, descriptor, 0, "", "", 0);
    int result = real(descriptor);
    UNLOCK;
    return result;
}

/* The one way to write: in the lock, at an offset or (-1) where the file stands. */
static ssize_t written(int descriptor, const struct iovec *parts, int count, off64_t at) {
    size_t size = 0, filled = 0;
    for (int n = 0; n < count; n++) size += parts[n].iov_len;
    LOCK;
    struct stat found;
    int appends = (int)syscall(SYS_fcntl, descriptor, F_GETFL) & O_APPEND;
    off64_t offset = at;
    if (appends) offset = fstat(descriptor, &found) ? 0 : found.st_size;
    else if (at < 0) offset = lseek64(descriptor, 0, SEEK_CUR);
    ssize_t result = at < 0 ? syscall(SYS_writev, descriptor, parts, count)
                            : syscall(SYS_pwritev, descriptor, parts, count, at, 0);
    if (result > 0) {
        int kept = errno;
        char *data = malloc(size);
        if (!data) abort();
        for (int n = 0; n < count; n++) {
            memcpy(data + filled, parts[n].iov_base, parts[n].iov_len);
            filled += parts[n].iov_len;
        }
        tell(WRITE, descriptor, offset, "", data, (size_t)result);
        if (state[descriptor] & SYNCED) tell(SYNC, descriptor, frames, "", "", 0);
        free(data);
        errno = kept;
    }
    UNLOCK;
    return result;
}

ssize_t write(int descriptor, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (watched(descriptor)) {
        struct iovec part = {(void *)data, size};
        return written(descriptor, &part, 1, -1);
    }
    if (!active || descriptor != pipe_end) return real(descriptor, data, size);
    LOCK;
    tell(MARK, -1, 0, "", data, size);
    ssize_t result = real(descriptor, data, size);
    UNLOCK;
    return result;
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return watched(descriptor) ? written(descriptor, parts, count, -1)
                               : real(descriptor, parts, count);
}

#define WRITER(name) \
    ssize_t name(int descriptor, const void *data, size_t size, off64_t at) { \
        REAL(ssize_t, #name, int, const void *, size_t, off64_t); \
        struct iovec part = {(void *)data, size}; \
        return watched(descriptor) ? written(descriptor, &part, 1, at) \
                                   : real(descriptor, data, size, at); \
    }
WRITER(pwrite)
WRITER(pwrite64)

#define VECTOR_WRITER(name) \
    ssize_t name(int descriptor, const struct iovec *parts, int count, off64_t at) { \
        REAL(ssize_t, #name, int, const struct iovec *, int, off64_t); \
        return watched(descriptor) ? written(descriptor, parts, count, at) \
                                   : real(descriptor, parts, count, at); \
    }
VECTOR_WRITER(pwritev)
VECTOR_WRITER(pwritev64)

/* Its flags are hints; an offset of -1 means where the file stands, as in `written`. */
#define FLAGGED_WRITER(name) \
    ssize_t name(int descriptor, const struct iovec *parts, int count, off64_t at, int flags) { \
        REAL(ssize_t, #name, int, const struct iovec *, int, off64_t, int); \
        return watched(descriptor) ? written(descriptor, parts, count, at) \
                                   : real(descriptor, parts, count, at, flags); \
    }
FLAGGED_WRITER(pwritev2)
FLAGGED_WRITER(pwritev64v2)

#define RESIZER(name) \
    int name(int descriptor, off64_t size) { \
        REAL(int, #name, int, off64_t); \
        if (!watched(descriptor)) return real(descriptor, size); \
        LOCK; \
        int result = real(descriptor, size); \
        if (!result) tell(RESIZE, descriptor, size, "", "", 0); \
        UNLOCK; \
        return result; \
    }
RESIZER(ftruncate)
RESIZER(ftruncate64)

#define ALLOCATOR(name) \
    int name(int descriptor, off64_t at, off64_t length) { \
        REAL(int, #name, int, off64_t, off64_t); \
        if (!watched(descriptor)) return real(descriptor, at, length); \
        struct stat found; \
        LOCK; \
        int known = !fstat(descriptor, &found); \
        int result = real(descriptor, at, length); \
        if (!result && known && at + length > found.st_size) \
            tell(RESIZE, descriptor, at + length, "", "", 0); \
        UNLOCK; \
        return result; \
    }
ALLOCATOR(posix_fallocate)
ALLOCATOR(posix_fallocate64)

/* Outside the lock: what others write meanwhile is not covered. */
#define SYNCER(name) \
    int name(int descriptor) { \
        REAL(int, #name, int); \
        int64_t begun = frames; \
        int result = real(descriptor); \
        if (!result && watched(descriptor)) { \
            LOCK; \
            tell(SYNC, descriptor, begun, "", "", 0); \
            UNLOCK; \
        } \
        return result; \
    }
SYNCER(fsync)
SYNCER(fdatasync)

static int renamed(int from_at, const char *from, int to_at, const char *to) {
    char source[4096], target[4096];
    LOCK;
    int result = (int)syscall(SYS_renameat2, from_at, from, to_at, to, 0);
    if (!result) {
        int leaves = inside(from_at, from, source), arrives = inside(to_at, to, target);
        if (leaves && arrives) tell(RENAME, -1, 0, source, target, strlen(target));
        else if (leaves || arrives) tell(UNSEEN, -1, 0, leaves ? source : target, "rename", 6);
    }
    UNLOCK;
    return result;
}
int rename(const char *from, const char *to) { return renamed(AT_FDCWD, from, AT_FDCWD, to); }
int renameat(int from_at, const char *from, int to_at, const char *to) {
    return renamed(from_at, from, to_at, to);
}

static int changed(uint32_t kind, int at, const char *path, long result) {
    char name[4096];
    if (!result && inside(at, path, name)) tell(kind, -1, 0, name, "a call", kind == UNSEEN ? 6 : 0);
    return (int)result;
}
#define NAMER(head, kind, at, call) \
    int head { \
        LOCK; \
        int result = changed(kind, at, path, call); \
        UNLOCK; \
        return result; \
    }
NAMER(unlink(const char *path), UNLINK, AT_FDCWD, syscall(SYS_unlinkat, AT_FDCWD, path, 0))
NAMER(remove(const char *path), UNLINK, AT_FDCWD, syscall(SYS_unlinkat, AT_FDCWD, path, 0))
NAMER(unlinkat(int at, const char *path, int flags), flags ? UNSEEN : UNLINK, at,
      syscall(SYS_unlinkat, at, path, flags))
NAMER(mkdir(const char *path, mode_t mode), MKDIR, AT_FDCWD,
      syscall(SYS_mkdirat, AT_FDCWD, path, mode))
NAMER(mkdirat(int at, const char *path, mode_t mode), MKDIR, at,
      syscall(SYS_mkdirat, at, path, mode))
NAMER(rmdir(const char *path), UNSEEN, AT_FDCWD,
      syscall(SYS_unlinkat, AT_FDCWD, path, AT_REMOVEDIR))
NAMER(truncate(const char *path, off64_t size), UNSEEN, AT_FDCWD,
      syscall(SYS_truncate, path, size))
NAMER(truncate64(const char *path, off64_t size), UNSEEN, AT_FDCWD,
      syscall(SYS_truncate, path, size))

/* SQLite maps the index of its log ("-shm") to share it; it is made anew after a crash. */
static void mapped(int descriptor, int protection, int flags) {
    char link[64], path[4096] = "";
    if (!watched(descriptor) || !(protection & PROT_WRITE) || !(flags & MAP_SHARED)) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length >= 4 && !strcmp(path + length - 4, "-shm")) return;
    LOCK;
    tell(UNSEEN, descriptor, 0, path, "mmap", 4);
    UNLOCK;
}
#define MAPPER(name) \
    void *name(void *address, size_t size, int protection, int flags, int descriptor, off64_t at) { \
        REAL(void *, #name, void *, size_t, int, int, int, off64_t); \
        mapped(descriptor, protection, flags); \
        return real(address, size, protection, flags, descriptor, at); \
    }
MAPPER(mmap)
MAPPER(mmap64)
