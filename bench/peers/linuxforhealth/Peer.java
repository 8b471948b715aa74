import com.sun.management.OperatingSystemMXBean;
import io.github.linuxforhealth.hl7.ConverterOptions;
import io.github.linuxforhealth.hl7.HL7ToFHIRConverter;
import java.io.BufferedWriter;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Converts every message of a file; see README.md for the protocol that all peers share. */
public final class Peer {
  public static void main(String[] arguments) throws Exception {
    List<String> messages = List.of(
        new String(Files.readAllBytes(Path.of(arguments[0])), StandardCharsets.UTF_8).split("\u001c\r"));
    double seconds = Double.parseDouble(arguments[1]);
    HL7ToFHIRConverter converter = new HL7ToFHIRConverter();
    ConverterOptions options = new ConverterOptions.Builder().build();
    int failed = 0;
    try (BufferedWriter out = Files.newBufferedWriter(Path.of(arguments[2]))) {
      for (String message : messages) {
        String bundle = convert(converter, options, message);
        failed += bundle == null ? 1 : 0;
        out.write(bundle == null ? "null" : bundle.replace("\n", "").replace("\r", ""));
        out.write("\n");
      }
    }
    run(converter, options, messages, seconds); // warm-up: the compiler has seen every message
    double rate = run(converter, options, messages, seconds);
    System.out.printf("{\"rate\": %.1f, \"failed\": %d}%n", rate, failed);
  }

  private static double run(
      HL7ToFHIRConverter converter, ConverterOptions options, List<String> messages, double seconds) {
    long started = cpu();
    long until = started + (long) (seconds * 1e9);
    long done = 0;
    while (cpu() < until) {
      for (int number = 0; number < messages.size() && cpu() < until; number++) {
        if (convert(converter, options, messages.get(number)) != null) {
          done++;
        }
      }
    }
    return done / ((cpu() - started) / 1e9);
  }

  private static String convert(HL7ToFHIRConverter converter, ConverterOptions options, String message) {
    try {
      return converter.convert(message.substring(1), options);
    } catch (RuntimeException error) {
      return null;
    }
  }

  /** CPU time of the whole process in ns, compiler and collector included. */
  private static long cpu() {
    return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
  }
}
