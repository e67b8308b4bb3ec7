// Power loss for one process: LD_PRELOAD this library, and when the process is told to die, every file below a directory
// goes back to what had been synced. SIGKILL alone does not test fsync, because the page cache survives it.
//
//   cc -O2 -shared -fPIC -o lostwrites.so shim.c -ldl -lpthread
//   LOSTWRITES_DIR=/path/data LD_PRELOAD=./lostwrites.so hexafn serve ... &   kill -USR2 $!
//
// It dies (exit status 137) on SIGUSR2, on abort(), and, for a place that can be found again, instead of the n-th fsync of
// such a file with LOSTWRITES_AT_SYNC=n. With LOSTWRITES_LIE=1 fsync answers 0 without any effect, as a disk with a volatile
// cache does: the negative control, with which a crash test must find losses.
//
// Modelled: appended bytes after the last fsync are cut off; bytes overwritten in place are put back; a file that was never
// synced is empty. After the moment of death no write and no sync of such a file returns, so nothing is acknowledged that
// is lost. Not modelled: the durability of directory entries (a created, renamed or deleted name stays so), shared mmap,
// io_uring, and pages that reach the disk without a sync (a real power loss may keep more than this).
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FDS = 65536 };

// Bytes that were overwritten since the last sync.
typedef struct Undo {
    struct Undo *next;
    off_t at;
    size_t len;
    unsigned long number;
    char bytes[];
} Undo;

typedef struct File {
    struct File *next;
    dev_t dev;
    ino_t ino;
    int fd;       // our own, so that a rename or a closed descriptor does not matter
    off_t synced; // the length at the last sync
    int open;     // descriptors of the process
    Undo *undo;   // newest first
    unsigned long undos;
} File;

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static File *files;
static File *by_fd[FDS];
static char dir[PATH_MAX];
static size_t dir_len;
static int lie, dead;
static long at_sync, syncs;

#define REAL(ret, name, ...)                                                                                          \
    static ret (*real_##name)(__VA_ARGS__);                                                                           \
    static void load_##name(void) {                                                                                   \
        if (!real_##name) real_##name = dlsym(RTLD_NEXT, #name);                                                      \
    }
REAL(int, open, const char *, int, ...)
REAL(int, openat, int, const char *, int, ...)
REAL(int, close, int)
REAL(ssize_t, write, int, const void *, size_t)
REAL(ssize_t, writev, int, const struct iovec *, int)
REAL(ssize_t, pwrite, int, const void *, size_t, off_t)
REAL(int, fsync, int)
REAL(int, fdatasync, int)
REAL(int, ftruncate, int, off_t)

static void stop_here(void) {
    for (;;) pause();
}

static File *find(dev_t dev, ino_t ino) {
    for (File *f = files; f; f = f->next)
        if (f->dev == dev && f->ino == ino) return f;
    return NULL;
}

static void drop_undo(File *f, unsigned long up_to) {
    for (Undo **u = &f->undo; *u;) {
        if ((*u)->number <= up_to) {
            Undo *old = *u;
            *u = old->next;
            free(old);
        } else {
            u = &(*u)->next;
        }
    }
}

// A descriptor was opened: follows it when it can write to a regular file below the directory.
static void track(int fd, int flags, int existed) {
    if (fd < 0 || fd >= FDS || !dir_len || (flags & O_ACCMODE) == O_RDONLY) return;
    struct stat st;
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode)) return;
    path[n] = 0;
    if (strncmp(path, dir, dir_len) || path[dir_len] != '/') return;
    pthread_mutex_lock(&lock);
    File *f = find(st.st_dev, st.st_ino);
    if (!f) {
        f = calloc(1, sizeof *f);
        f->dev = st.st_dev;
        f->ino = st.st_ino;
        f->synced = existed ? st.st_size : 0;
        f->fd = real_open(link, O_RDWR | O_CLOEXEC);
        f->next = files;
        files = f;
    }
    if (flags & O_TRUNC) f->synced = 0;
    f->open++;
    by_fd[fd] = f;
    pthread_mutex_unlock(&lock);
}

// The machine loses its power.
static void lose(void) {
    pthread_mutex_lock(&lock);
    dead = 1;
    for (File *f = files; f; f = f->next) {
        struct stat st;
        if (fstat(f->fd, &st)) continue;
        for (Undo *u = f->undo; u; u = u->next) {
            if (real_pwrite(f->fd, u->bytes, u->len, u->at) < 0) perror("lostwrites: putting back");
        }
        if (st.st_size > f->synced && real_ftruncate(f->fd, f->synced)) perror("lostwrites: cutting");
    }
    _exit(137);
}

static void *wait_for_signal(void *set) {
    int signal;
    if (sigwait(set, &signal) == 0) lose();
    return NULL;
}

__attribute__((constructor)) static void start(void) {
    load_open(), load_openat(), load_close(), load_write(), load_writev(), load_pwrite();
    load_fsync(), load_fdatasync(), load_ftruncate();
    const char *d = getenv("LOSTWRITES_DIR");
    if (!d) return;
    // The directory may not exist yet: its parent must.
    if (!realpath(d, dir) && errno == ENOENT) {
        char parent[PATH_MAX];
        snprintf(parent, sizeof parent, "%s", d);
        char *slash = strrchr(parent, '/');
        const char *name = slash ? slash + 1 : d;
        if (slash) *slash = 0;
        char base[PATH_MAX - 256];
        if (realpath(slash ? (*parent ? parent : "/") : ".", dir)) {
            snprintf(base, sizeof base, "%.3800s", dir);
            snprintf(dir, sizeof dir, "%s/%.200s", base, name);
        }
    }
    dir_len = strlen(dir);
    lie = getenv("LOSTWRITES_LIE") != NULL;
    at_sync = getenv("LOSTWRITES_AT_SYNC") ? atol(getenv("LOSTWRITES_AT_SYNC")) : 0;
    // Blocked here, before there are other threads, and taken by one that may use locks.
    static sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    pthread_t thread;
    if (pthread_create(&thread, NULL, wait_for_signal, &set)) _exit(71);
    pthread_detach(thread);
}

static int exists(int at, const char *path, int flags) {
    struct stat st;
    return !(flags & O_CREAT) || fstatat(at, path, &st, 0) == 0;
}

#define MODE(flags)                                                                                                   \
    mode_t mode = 0;                                                                                                  \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                                            \
        va_list list;                                                                                                 \
        va_start(list, flags);                                                                                        \
        mode = va_arg(list, mode_t);                                                                                  \
        va_end(list);                                                                                                 \
    }

int open(const char *path, int flags, ...) {
    MODE(flags)
    load_open();
    int existed = exists(AT_FDCWD, path, flags), fd = real_open(path, flags, mode);
    track(fd, flags, existed);
    return fd;
}

int openat(int at, const char *path, int flags, ...) {
    MODE(flags)
    load_openat();
    int existed = exists(at, path, flags), fd = real_openat(at, path, flags, mode);
    track(fd, flags, existed);
    return fd;
}

int open64(const char *path, int flags, ...) {
    MODE(flags)
    return open(path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...) {
    MODE(flags)
    return openat(at, path, flags, mode);
}

int creat(const char *path, mode_t mode) {
    return open(path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode) {
    return creat(path, mode);
}

int close(int fd) {
    load_close();
    if (fd >= 0 && fd < FDS && by_fd[fd]) {
        pthread_mutex_lock(&lock);
        File *f = by_fd[fd];
        by_fd[fd] = NULL;
        struct stat st;
        // Nothing can be lost of it any more.
        if (f && --f->open == 0 && !f->undo && fstat(f->fd, &st) == 0 && (st.st_size <= f->synced || !st.st_nlink)) {
            for (File **p = &files; *p; p = &(*p)->next) {
                if (*p == f) {
                    *p = f->next;
                    break;
                }
            }
            real_close(f->fd);
            free(f);
        }
        pthread_mutex_unlock(&lock);
    }
    return real_close(fd);
}

// Begins a write: keeps what it overwrites. Returns the file with the lock held, or NULL.
static File *begin(int fd, off_t at, size_t len) {
    if (fd < 0 || fd >= FDS || !by_fd[fd]) return NULL;
    pthread_mutex_lock(&lock);
    if (dead) pthread_mutex_unlock(&lock), stop_here();
    File *f = by_fd[fd];
    if (at < 0) at = fcntl(fd, F_GETFL) & O_APPEND ? lseek(fd, 0, SEEK_END) : lseek(fd, 0, SEEK_CUR);
    if (at < f->synced) {
        if ((off_t)len > f->synced - at) len = f->synced - at;
        Undo *u = malloc(sizeof *u + len);
        ssize_t n = pread(f->fd, u->bytes, len, at);
        u->at = at;
        u->len = n > 0 ? n : 0;
        u->number = ++f->undos;
        u->next = f->undo;
        f->undo = u;
    }
    return f;
}

static void end(File *f) {
    if (f) pthread_mutex_unlock(&lock);
}

ssize_t write(int fd, const void *bytes, size_t len) {
    load_write();
    File *f = begin(fd, -1, len);
    ssize_t n = real_write(fd, bytes, len);
    end(f);
    return n;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    load_writev();
    size_t len = 0;
    for (int i = 0; i < count; i++) len += parts[i].iov_len;
    File *f = begin(fd, -1, len);
    ssize_t n = real_writev(fd, parts, count);
    end(f);
    return n;
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    load_pwrite();
    File *f = begin(fd, at, len);
    ssize_t n = real_pwrite(fd, bytes, len, at);
    end(f);
    return n;
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off_t at) {
    return pwrite(fd, bytes, len, at);
}

int ftruncate(int fd, off_t len) {
    load_ftruncate();
    File *f = begin(fd, LONG_MAX, 0);
    int result = real_ftruncate(fd, len);
    if (f && !result && len < f->synced) f->synced = len;
    end(f);
    return result;
}

int ftruncate64(int fd, off_t len) {
    return ftruncate(fd, len);
}

static int sync_with(int fd, int (*real)(int)) {
    struct stat st;
    if (!dir_len || fstat(fd, &st) || !S_ISREG(st.st_mode)) return real(fd);
    pthread_mutex_lock(&lock);
    if (dead) pthread_mutex_unlock(&lock), stop_here();
    // By inode: the descriptor may be a duplicate.
    File *f = find(st.st_dev, st.st_ino);
    unsigned long undos = f ? f->undos : 0;
    if (f && at_sync && ++syncs == at_sync) lose();
    pthread_mutex_unlock(&lock);
    if (!f) return real(fd);
    if (lie) return 0;
    // What was written before the sync began is safe when it succeeds.
    int result = real(fd);
    pthread_mutex_lock(&lock);
    if (dead) pthread_mutex_unlock(&lock), stop_here();
    if (!result && find(st.st_dev, st.st_ino) == f) {
        if (st.st_size > f->synced) f->synced = st.st_size;
        drop_undo(f, undos);
    }
    pthread_mutex_unlock(&lock);
    return result;
}

int fsync(int fd) {
    load_fsync();
    return sync_with(fd, real_fsync);
}

int fdatasync(int fd) {
    load_fdatasync();
    return sync_with(fd, real_fdatasync);
}

void abort(void) {
    if (dir_len) lose();
    signal(SIGABRT, SIG_DFL);
    raise(SIGABRT);
    _exit(134);
}
