// What scripts/lostwrites/prove runs under the shim: writes, syncs some of it, and waits to be killed.
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char path[4096];
    snprintf(path, sizeof path, "%s/appended", argv[1]);
    int a = open(path, O_CREAT | O_WRONLY | O_APPEND, 0644);
    snprintf(path, sizeof path, "%s/overwritten", argv[1]);
    int b = open(path, O_CREAT | O_RDWR, 0644);
    snprintf(path, sizeof path, "%s/never", argv[1]);
    int c = open(path, O_CREAT | O_WRONLY, 0644);
    if (write(a, "synced", 6) != 6 || fsync(a)) return 1;
    if (write(a, " lost", 5) != 5) return 1;
    if (pwrite(b, "old", 3, 0) != 3 || fdatasync(b) || pwrite(b, "new and more", 12, 0) != 12) return 1;
    if (write(c, "lost", 4) != 4) return 1;
    close(c);
    puts("ready");
    fflush(stdout);
    return argc > 2 && strcmp(argv[2], "exit") == 0 ? 0 : pause();
}
