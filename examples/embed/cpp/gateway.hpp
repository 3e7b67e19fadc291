// An order gateway without Python: its threads take orders from rings, decide about each, and send or reject it.
//
// Each thread has a ring with one producer, and a gate of its own. While orders keep coming, a thread takes no lock,
// allocates nothing and makes no system call between an order and its decision.
#pragma once

#include <ztfast.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace gateway {

struct Order {
    std::uint64_t session;    // session.id
    std::uint64_t instrument; // resource.handle
    std::uint32_t number;     // the client's number of the order, 0, 1, 2, ...: the index of its answer
    std::int64_t values[2];   // in the gate's order: notional in whole US dollars, quantity in pieces
};

// A cloned gate. Move it to the thread that uses it.
class Gate {
public:
    // Call with the GIL if `original` is a Python gate's address.
    Gate(const ztfast_api *api, const ztfast_gate *original) : api_(api) {
        const std::int32_t status = api->gate_clone(original, &gate_);
        if (status != ZTFAST_OK) throw std::runtime_error(std::string("cloning the gate: ") + api->status_text(status));
    }
    Gate(Gate &&other) noexcept : api_(other.api_), gate_(std::exchange(other.gate_, nullptr)) {}
    Gate &operator=(Gate &&other) noexcept {
        std::swap(api_, other.api_);
        std::swap(gate_, other.gate_);
        return *this;
    }
    Gate(const Gate &) = delete;
    Gate &operator=(const Gate &) = delete;
    ~Gate() {
        if (gate_ != nullptr) api_->gate_free(gate_);
    }

    // Return ZTFAST_ALLOW, or the code of the denial.
    std::uint32_t allows(const Order &order) noexcept {
        return api_->allows(gate_, order.session, order.instrument, order.values, std::size(order.values));
    }

private:
    const ztfast_api *api_;
    ztfast_gate *gate_ = nullptr;
};

// A ring for one producer and one consumer.
class Ring {
public:
    bool push(const Order &order) noexcept {
        const std::size_t tail = tail_.load(std::memory_order_relaxed);
        if (tail - head_.load(std::memory_order_acquire) == SLOTS) return false;
        slots_[tail % SLOTS] = order;
        tail_.store(tail + 1, std::memory_order_release);
        return true;
    }

    bool pop(Order &order) noexcept {
        const std::size_t head = head_.load(std::memory_order_relaxed);
        if (head == tail_.load(std::memory_order_acquire)) return false;
        order = slots_[head % SLOTS];
        head_.store(head + 1, std::memory_order_release);
        return true;
    }

private:
    static constexpr std::size_t SLOTS = 1024;
    // Each end writes to a cache line of its own.
    alignas(64) std::atomic<std::size_t> head_{0};
    alignas(64) std::atomic<std::size_t> tail_{0};
    alignas(64) std::array<Order, SLOTS> slots_{};
};

// The counts of one thread. They allocate only when they are constructed.
struct Counts {
    // By code. Unknown codes count in the last element.
    std::array<std::uint64_t, 32> codes{};
    // Times of decisions in nanoseconds, including the clock, in steps of 1 ns. The last element counts all longer times.
    std::vector<std::uint32_t> nanoseconds = std::vector<std::uint32_t>(100'000);
    // The notional of the orders that were sent, in whole US dollars.
    std::int64_t sent = 0;

    void add(const Counts &other) {
        for (std::size_t at = 0; at < codes.size(); ++at) codes[at] += other.codes[at];
        for (std::size_t at = 0; at < nanoseconds.size(); ++at) nanoseconds[at] += other.nanoseconds[at];
        sent += other.sent;
    }

    // Return the time that this share of all decisions did not exceed.
    std::size_t quantile_ns(double share) const {
        std::uint64_t all = 0, seen = 0;
        for (const std::uint32_t count : nanoseconds) all += count;
        for (std::size_t at = 0; at < nanoseconds.size(); ++at) {
            seen += nanoseconds[at];
            if (seen > 0 && static_cast<double>(seen) >= share * static_cast<double>(all)) return at;
        }
        return nanoseconds.size();
    }
};

class Gateway {
public:
    // `answers` has a byte for each order's number; it lives as long as the gateway.
    Gateway(const ztfast_api *api, const ztfast_gate *gate, std::size_t threads, std::uint8_t *answers)
        : answers_(answers) {
        for (std::size_t at = 0; at < threads; ++at) lanes_.push_back(std::make_unique<Lane>(Gate(api, gate)));
        try {
            for (auto &lane : lanes_) lane->thread = std::thread([this, &lane = *lane] { decide(lane); });
        } catch (...) {
            close();
            throw;
        }
    }
    Gateway(const Gateway &) = delete;
    Gateway &operator=(const Gateway &) = delete;
    ~Gateway() { close(); }

    // Call from one thread only. All orders of a session take the same lane, so they stay in order.
    void submit(const Order &order) noexcept {
        Ring &ring = lanes_[order.session % lanes_.size()]->ring;
        while (!ring.push(order)) std::this_thread::yield();
    }

    // Wait until all orders are answered.
    Counts close() {
        open_.store(false, std::memory_order_release);
        Counts all;
        for (auto &lane : lanes_) {
            if (lane->thread.joinable()) lane->thread.join();
            all.add(lane->counts);
        }
        return all;
    }

private:
    struct Lane {
        explicit Lane(Gate own) : gate(std::move(own)) {}
        Ring ring;
        Gate gate;
        Counts counts;
        std::thread thread;
    };

    void decide(Lane &lane) noexcept {
        using clock = std::chrono::steady_clock;
        Order order;
        for (;;) {
            if (!lane.ring.pop(order)) {
                // Check once more after the gateway was closed: orders submitted before must be answered.
                if (open_.load(std::memory_order_acquire)) {
                    // A gateway on an isolated core would spin here.
                    std::this_thread::yield();
                    continue;
                }
                if (!lane.ring.pop(order)) return;
            }
            const auto began = clock::now();
            const std::uint32_t code = lane.gate.allows(order);
            const auto took = std::chrono::duration_cast<std::chrono::nanoseconds>(clock::now() - began).count();
            auto &counts = lane.counts.nanoseconds;
            ++counts[std::min(static_cast<std::size_t>(took), counts.size() - 1)];
            ++lane.counts.codes[std::min<std::size_t>(code, lane.counts.codes.size() - 1)];
            if (code == ZTFAST_ALLOW) {
                send(lane, order);
            } else {
                reject(order, code);
            }
        }
    }

    void send(Lane &lane, const Order &order) noexcept {
        // A real gateway would send the order here.
        lane.counts.sent += order.values[0];
        answers_[order.number] = ZTFAST_ALLOW;
    }

    void reject(const Order &order, std::uint32_t code) noexcept {
        // A real gateway would reject the order here. ztfast_api::code_name returns the name of the code for the log.
        answers_[order.number] = static_cast<std::uint8_t>(code);
    }

    std::vector<std::unique_ptr<Lane>> lanes_;
    std::atomic<bool> open_{true};
    std::uint8_t *answers_;
};

// The median time between two readings of the clock, in nanoseconds. Every figure of a Counts contains it.
inline std::size_t clock_ns() {
    Counts counts;
    for (int round = 0; round < 10'000; ++round) {
        const auto began = std::chrono::steady_clock::now();
        const auto took = std::chrono::steady_clock::now() - began;
        const auto ns = std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
        ++counts.nanoseconds[std::min(static_cast<std::size_t>(ns), counts.nanoseconds.size() - 1)];
    }
    return counts.quantile_ns(0.5);
}

} // namespace gateway
