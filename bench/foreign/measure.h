// What the programs in C share: the job, the control connection, the messages, and the sample. All of
// it means the same as in `src/client.rs`, `src/control.rs`, `src/messages.rs` and `src/sample.rs`.

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define TOPIC "sensors/building-7/t/001"
#define WINDOW 100
#define LATE_MS 300
// Of one measurement; 10,000 connections take longer.
#define TIMEOUT_S (is("idle") ? 60 : 8)
// How many messages a batch has.
#define MESSAGES_OF_BATCH 1000
// How many filters one SUBSCRIBE has at most.
#define CHUNK 500

static void fail(const char *what) {
    fprintf(stderr, "failed: %s\n", what);
    exit(1);
}

static void expect(bool holds, const char *what) {
    if (!holds) fail(what);
}

// One measurement, as the command line has it: SCENARIO N PORT.
static struct {
    // "publish", "awaited", "batches", "receive", "filters", "late", "ping-pong", "idle" or "connect".
    char kind[16];
    int qos, size, filters;
    long n;
    int port;
} job;

static bool is(const char *kind) { return strcmp(job.kind, kind) == 0; }

static void on_alarm(int signal) {
    (void)signal;
    static const char text[] = "not finished in time\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) _exit(2);
    _exit(1);
}

static void parse_job(int count, char **words) {
    expect(count == 4, "the arguments are SCENARIO N PORT");
    job.size = 16;
    const char *scenario = words[1];
    if (sscanf(scenario, "publish-%d-%d", &job.qos, &job.size) == 2) {
        strcpy(job.kind, "publish");
    } else if (sscanf(scenario, "receive-%d-%d", &job.qos, &job.size) == 2) {
        strcpy(job.kind, "receive");
        job.filters = 1;
    } else if (sscanf(scenario, "filters-%d", &job.filters) == 1 ||
               sscanf(scenario, "streams-%d", &job.filters) == 1) {
        strcpy(job.kind, "filters");
    } else if (strncmp(scenario, "idle-", 5) == 0) {
        strcpy(job.kind, "idle");
    } else {
        snprintf(job.kind, sizeof job.kind, "%s", scenario);
        job.filters = is("late") || is("ping-pong");
        job.qos = is("awaited") || is("batches");
        if (is("late")) job.size = 1024;
    }
    job.n = atol(words[2]);
    job.port = atoi(words[3]);
    signal(SIGALRM, on_alarm);
    alarm(TIMEOUT_S);
}

// The filter at `index`, in memory of its own.
static char *filter(int index) {
    char text[32] = "sensors/#";
    if (is("filters")) snprintf(text, sizeof text, "sensors/%d/+", index);
    return strdup(text);
}

// The control connection.
static int control;

static void control_connect(void) {
    control = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(job.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    char hello = 'C';
    expect(connect(control, (struct sockaddr *)&address, sizeof address) == 0, "a control connection");
    setsockopt(control, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    expect(write(control, &hello, 1) == 1 && read(control, &hello, 1) == 1, "a server");
}

// Whether a batch has to be acknowledged before message `number` is published.
static bool ends_batch(long number) { return is("batches") && number > 0 && number % MESSAGES_OF_BATCH == 0; }

static void control_go(void) { expect(write(control, "g", 1) == 1, "a server"); }

// Waits until the server has completed all messages.
static void control_done(void) {
    char done;
    expect(read(control, &done, 1) == 1, "a server that is done");
}

// The payload of message `number`: a fresh buffer, which the caller frees.
static char *payload(uint64_t number, int size) {
    char *bytes = malloc(size);
    memset(bytes, 'x', size);
    for (int i = 0; i < 8; i++) bytes[i] = (char)(number >> (56 - 8 * i));
    return bytes;
}

// Which messages arrived: their count, and the sum of their numbers.
static struct {
    uint64_t count, sum;
} tally;

static void tally_add(const void *bytes, int size) {
    const unsigned char *digits = bytes;
    uint64_t number = 0;
    for (int i = 0; i < 8 && size >= 8; i++) number = number << 8 | digits[i];
    tally.count++;
    tally.sum += number;
}

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + now.tv_nsec / 1e9;
}

static void sleep_ms(long ms) {
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

// A line of /proc/self/status, in bytes.
static long memory(const char *field) {
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (strncmp(line, field, strlen(field)) == 0) kib = atol(line + strlen(field));
    if (status) fclose(status);
    return kib << 10;
}

static double timeval(struct timeval time) { return time.tv_sec + time.tv_usec / 1e6; }

static struct {
    double wall;
    struct rusage usage;
    long resident;
} start;

static void stopwatch_start(void) {
    start.resident = memory("VmRSS:");
    getrusage(RUSAGE_SELF, &start.usage);
    start.wall = seconds();
}

// What the measured part took, as JSON without its end.
static char sample[512];

static void stopwatch_stop(void) {
    double wall = seconds() - start.wall;
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    long grown = memory("VmRSS:") - start.resident;
    snprintf(sample, sizeof sample,
             "{\"messages\":%ld,\"user\":%.6f,\"system\":%.6f,\"wall\":%.9f,\"peak\":%ld,\"grown\":%ld",
             job.n, timeval(usage.ru_utime) - timeval(start.usage.ru_utime),
             timeval(usage.ru_stime) - timeval(start.usage.ru_stime), wall, memory("VmHWM:"),
             grown > 0 ? grown : 0);
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

// Prints the sample; `times` are the microseconds of the round trips, if the scenario has any.
static void print_sample(double *times) {
    printf("%s", sample);
    if (is("receive") || is("filters") || is("late"))
        printf(",\"tally\":{\"count\":%llu,\"sum\":%llu}", (unsigned long long)tally.count,
               (unsigned long long)tally.sum);
    if (times) {
        qsort(times, job.n, sizeof *times, by_size);
        printf(",\"latency\":[%.3f,%.3f]", times[job.n / 2], times[job.n * 99 / 100]);
    }
    printf("}\n");
    fflush(stdout);
}

// What each of the programs has, as `Peer` in `src/peers.rs`.
typedef struct Client Client;
// Begins to connect.
static Client *client_open(const char *id);
// Waits for the server's answer.
static void client_wait(Client *client);
// Publishes all messages, with a window of WINDOW, until the server is done; in batches, waits for the
// acknowledgements of each before the next.
static void client_publish(Client *client);
// Publishes from WINDOW tasks, each of which waits for each acknowledgement.
static void client_publish_awaited(Client *client);
static void client_subscribe(Client *client);
// Receives `n` messages; the application begins after `delay_ms`.
static void client_receive(Client *client, long n, long delay_ms);
// Publishes one message at QoS 0 and receives it.
static void client_ping(Client *client, const char *bytes);
static void client_disconnect(Client *client);

static Client *client_connect(const char *id) {
    Client *client = client_open(id);
    client_wait(client);
    return client;
}

static void measure_messages(void) {
    Client *client = client_connect("bench");
    if (job.filters > 0) client_subscribe(client);
    double *times = is("ping-pong") ? malloc(job.n * sizeof *times) : NULL;
    stopwatch_start();
    control_go();
    if (is("publish") || is("batches")) {
        client_publish(client);
    } else if (is("awaited")) {
        client_publish_awaited(client);
    } else if (is("ping-pong")) {
        for (long i = 0; i < job.n; i++) {
            char *bytes = payload(i, job.size);
            double began = seconds();
            client_ping(client, bytes);
            times[i] = (seconds() - began) * 1e6;
            free(bytes);
        }
    } else {
        client_receive(client, job.n, is("late") ? LATE_MS : 0);
    }
    stopwatch_stop();
    client_disconnect(client);
    print_sample(times);
}

static void measure_idle(void) {
    // What the process allocates once is not a connection's.
    client_connect("first");
    Client **clients = calloc(job.n, sizeof *clients);
    stopwatch_start();
    control_go();
    // All at once: one after the other, a thread of Paho takes a second to see each.
    for (long i = 0; i < job.n; i++) {
        char id[32];
        snprintf(id, sizeof id, "idle-%ld", i);
        clients[i] = client_open(id);
    }
    for (long i = 0; i < job.n; i++) client_wait(clients[i]);
    stopwatch_stop();
    print_sample(NULL);
}

static void measure_connect(void) {
    client_disconnect(client_connect("first"));
    stopwatch_start();
    control_go();
    for (long i = 0; i < job.n; i++) client_disconnect(client_connect("connect"));
    stopwatch_stop();
    print_sample(NULL);
}

static void measure(int count, char **words) {
    parse_job(count, words);
    control_connect();
    if (is("idle")) measure_idle();
    else if (is("connect")) measure_connect();
    else measure_messages();
}
