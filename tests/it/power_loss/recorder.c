/*
 * Loaded into a process before its C library: records, in their order and with their data, all changes that the process makes
 * to the files of the folder POWER_LOSS_FOLDER, and when it asks for them to be made durable. The record goes to POWER_LOSS_RECORD.
 *
 * One lock is held over each call and its entry, so the order of the entries is that of the calls. Asking for durability does
 * nothing but take some time: the disk that is recorded exists on paper only.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* What a disk may take for a flush: callers that wait meanwhile share the next one. */
#define FLUSH_MICROSECONDS 300

struct entry {
    uint64_t kind, inode, offset, data_length, name_length;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char folder[PATH_MAX];
static size_t folder_length;
static int record = -1;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("POWER_LOSS_RECORD"), *watched = getenv("POWER_LOSS_FOLDER");
    if (!path || !watched || !realpath(watched, folder))
        return;
    folder_length = strlen(folder);
    record = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

/* The name within the folder, empty for the folder itself; NULL for what lies elsewhere. */
static const char *within(const char *path)
{
    if (record < 0 || strncmp(path, folder, folder_length) != 0)
        return NULL;
    path += folder_length;
    return *path == 0 ? path : *path == '/' ? path + 1 : NULL;
}

static const char *name_of(int fd, char *buffer)
{
    char link[32];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0)
        return NULL;
    buffer[length] = 0;
    return within(buffer);
}

static void enter(char kind, int fd, uint64_t offset, const char *name, const void *data, size_t length)
{
    struct stat file = {0};
    if (fd >= 0)
        fstat(fd, &file);
    struct entry entry = {kind, file.st_ino, offset, length, strlen(name)};
    struct iovec parts[] = {{&entry, sizeof entry}, {(void *)name, entry.name_length}, {(void *)data, length}};
    ssize_t whole = sizeof entry + entry.name_length + length;
    if (syscall(SYS_writev, record, parts, 3) != whole)
        abort(); /* half a record proves nothing */
}

int open64(const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    int mode = flags & O_CREAT ? va_arg(more, int) : 0;
    va_end(more);
    char buffer[PATH_MAX];
    pthread_mutex_lock(&lock);
    int new = (flags & O_CREAT) && syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
    int fd = syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    const char *name = new && fd >= 0 ? name_of(fd, buffer) : NULL;
    if (name)
        enter('C', fd, 0, name, NULL, 0);
    pthread_mutex_unlock(&lock);
    return fd;
}

int open(const char *path, int flags, ...) __attribute__((alias("open64")));

int unlink(const char *path)
{
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    const char *name = result == 0 ? within(path) : NULL;
    if (name)
        enter('U', -1, 0, name, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

ssize_t write(int fd, const void *data, size_t length)
{
    char buffer[PATH_MAX];
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_write, fd, data, length);
    const char *name = written > 0 ? name_of(fd, buffer) : NULL;
    if (name)
        enter('W', fd, lseek(fd, 0, SEEK_CUR) - written, name, data, written);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    char buffer[PATH_MAX];
    pthread_mutex_lock(&lock);
    ssize_t written = syscall(SYS_pwrite64, fd, data, length, offset);
    const char *name = written > 0 ? name_of(fd, buffer) : NULL;
    if (name)
        enter('W', fd, offset, name, data, written);
    pthread_mutex_unlock(&lock);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset) __attribute__((alias("pwrite64")));

int ftruncate64(int fd, off64_t length)
{
    char buffer[PATH_MAX];
    pthread_mutex_lock(&lock);
    int result = syscall(SYS_ftruncate, fd, length);
    const char *name = result == 0 ? name_of(fd, buffer) : NULL;
    if (name)
        enter('T', fd, length, name, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int ftruncate(int fd, off_t length) __attribute__((alias("ftruncate64")));

int fsync(int fd)
{
    char buffer[PATH_MAX];
    usleep(FLUSH_MICROSECONDS);
    pthread_mutex_lock(&lock);
    const char *name = name_of(fd, buffer);
    int result = name ? 0 : syscall(SYS_fsync, fd);
    if (name)
        enter('S', fd, 0, name, NULL, 0);
    pthread_mutex_unlock(&lock);
    return result;
}

int fdatasync(int fd) __attribute__((alias("fsync")));
