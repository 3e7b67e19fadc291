// The extension module `order_gateway`: it passes a Python gate and arrays of orders to the gateway and releases the GIL.

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "gateway.hpp"

namespace {

// The table is checked when the module is imported.
const ztfast_api *api = nullptr;

// A view of a one-dimensional array of T that Python owns. It keeps the array alive.
template <typename T> class Column {
public:
    Column(PyObject *array, const char *name, char kind) {
        if (PyObject_GetBuffer(array, &view_, PyBUF_FORMAT | PyBUF_C_CONTIGUOUS) != 0) return;
        const char *format = view_.format == nullptr ? "B" : view_.format;
        const bool is_signed = *format == 'l' || *format == 'q' || *format == 'i';
        if (view_.ndim != 1 || view_.itemsize != static_cast<Py_ssize_t>(sizeof(T)) || is_signed != (kind == 'i')) {
            PyErr_Format(PyExc_TypeError, "%s: wanted a one-dimensional array of %s%zu, got format '%s', %d dimensions",
                         name, kind == 'i' ? "int" : "uint", 8 * sizeof(T), format, view_.ndim);
            PyBuffer_Release(&view_);
        }
    }
    Column(const Column &) = delete;
    Column &operator=(const Column &) = delete;
    ~Column() {
        if (view_.obj != nullptr) PyBuffer_Release(&view_);
    }
    // If there are no data, a Python error is set.
    explicit operator bool() const { return view_.obj != nullptr; }
    std::size_t size() const { return static_cast<std::size_t>(view_.len) / sizeof(T); }
    const T &operator[](std::size_t at) const { return static_cast<const T *>(view_.buf)[at]; }

private:
    Py_buffer view_{};
};

int put(PyObject *dict, const char *name, PyObject *value) {
    if (value == nullptr) return -1;
    const int status = PyDict_SetItemString(dict, name, value);
    Py_DECREF(value);
    return status;
}

PyObject *report(const gateway::Counts &counts, double seconds, std::size_t clock_ns) {
    PyObject *out = PyDict_New();
    PyObject *codes = PyDict_New();
    if (out == nullptr || codes == nullptr || put(out, "codes", codes) != 0) {
        Py_XDECREF(out);
        return nullptr;
    }
    std::uint64_t decisions = 0;
    for (std::size_t code = 0; code < counts.codes.size(); ++code) {
        decisions += counts.codes[code];
        if (counts.codes[code] == 0) continue;
        const char *name = api->code_name(static_cast<std::uint32_t>(code));
        if (put(codes, name, PyLong_FromUnsignedLongLong(counts.codes[code])) != 0) {
            Py_DECREF(out);
            return nullptr;
        }
    }
    if (put(out, "decisions", PyLong_FromUnsignedLongLong(decisions)) != 0 ||
        put(out, "per_second", PyFloat_FromDouble(static_cast<double>(decisions) / seconds)) != 0 ||
        put(out, "p50_ns", PyLong_FromSize_t(counts.quantile_ns(0.5))) != 0 ||
        put(out, "p99_ns", PyLong_FromSize_t(counts.quantile_ns(0.99))) != 0 ||
        put(out, "clock_ns", PyLong_FromSize_t(clock_ns)) != 0 ||
        put(out, "sent_usd", PyLong_FromLongLong(counts.sent)) != 0) {
        Py_DECREF(out);
        return nullptr;
    }
    return out;
}

PyDoc_STRVAR(run_doc, R"(run(gate, sessions, instruments, notional, quantity, threads, /)
--

Send orders through a gateway of so many threads, without the GIL, and wait for all answers.

gate is a ztfast.Gate prepared with two Long attributes; sessions (uint64) are their ids and instruments (uint64) the
resources' handles; notional and quantity (int64) the attributes' values. Returns (answers, report): a ztfast.Code for
each order as bytes, and a dict of codes by name, decisions a second, and the times of one decision in nanoseconds.)");

PyObject *run(PyObject *, PyObject *const *arguments, Py_ssize_t count) {
    if (count != 6) {
        PyErr_Format(PyExc_TypeError, "run() takes 6 arguments, got %zd", count);
        return nullptr;
    }
    PyObject *address = PyObject_GetAttrString(arguments[0], "address");
    if (address == nullptr) return nullptr;
    const auto *gate = static_cast<const ztfast_gate *>(PyLong_AsVoidPtr(address));
    Py_DECREF(address);
    const std::size_t threads = PyLong_AsSize_t(arguments[5]);
    if (PyErr_Occurred()) return nullptr;

    const Column<std::uint64_t> sessions(arguments[1], "sessions", 'u');
    if (!sessions) return nullptr;
    const Column<std::uint64_t> instruments(arguments[2], "instruments", 'u');
    if (!instruments) return nullptr;
    const Column<std::int64_t> notional(arguments[3], "notional", 'i');
    if (!notional) return nullptr;
    const Column<std::int64_t> quantity(arguments[4], "quantity", 'i');
    if (!quantity) return nullptr;
    const std::size_t orders = sessions.size();
    if (threads == 0 || orders > UINT32_MAX || instruments.size() != orders || notional.size() != orders ||
        quantity.size() != orders) {
        PyErr_SetString(PyExc_ValueError, "wanted arrays of one length and at least one thread");
        return nullptr;
    }
    // An order without an answer is denied.
    PyObject *answers = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(orders));
    if (answers == nullptr) return nullptr;
    auto *out = reinterpret_cast<std::uint8_t *>(PyBytes_AS_STRING(answers));
    std::fill_n(out, orders, static_cast<std::uint8_t>(ZTFAST_DEFAULT));

    std::unique_ptr<gateway::Gateway> made;
    try {
        // The GIL is held, so the Python gate is idle while it is cloned.
        made = std::make_unique<gateway::Gateway>(api, gate, threads, out);
    } catch (const std::exception &error) {
        Py_DECREF(answers);
        PyErr_SetString(PyExc_RuntimeError, error.what());
        return nullptr;
    }
    gateway::Counts counts;
    double seconds = 0;
    std::size_t clock_ns = 0;
    Py_BEGIN_ALLOW_THREADS;
    clock_ns = gateway::clock_ns();
    const auto began = std::chrono::steady_clock::now();
    for (std::size_t at = 0; at < orders; ++at) {
        made->submit({sessions[at], instruments[at], static_cast<std::uint32_t>(at), {notional[at], quantity[at]}});
    }
    counts = made->close();
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    made.reset();
    Py_END_ALLOW_THREADS;
    PyObject *said = report(counts, seconds, clock_ns);
    if (said == nullptr) {
        Py_DECREF(answers);
        return nullptr;
    }
    return Py_BuildValue("(NN)", answers, said);
}

int import_table(PyObject *) {
    api = static_cast<const ztfast_api *>(PyCapsule_Import(ZTFAST_CAPSULE, 0));
    if (api == nullptr) return -1;
    const std::int32_t status = ztfast_check(api);
    if (status != ZTFAST_OK) {
        PyErr_SetString(PyExc_ImportError, ztfast_check_text(status));
        return -1;
    }
    return 0;
}

PyMethodDef methods[] = {
    {"run", reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(run)), METH_FASTCALL, run_doc},
    {nullptr, nullptr, 0, nullptr},
};

PyModuleDef_Slot slots[] = {
    {Py_mod_exec, reinterpret_cast<void *>(import_table)},
#ifdef Py_GIL_DISABLED
    // Runs share only the table, which is never written to.
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, nullptr},
};

PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "order_gateway", "An order gateway over ztfast.h.", 0, methods, slots, nullptr, nullptr, nullptr,
};

} // namespace

PyMODINIT_FUNC PyInit_order_gateway() { return PyModuleDef_Init(&definition); }
