import ca.uhn.hl7v2.DefaultHapiContext;
import ca.uhn.hl7v2.HL7Exception;
import ca.uhn.hl7v2.HapiContext;
import ca.uhn.hl7v2.model.Message;
import ca.uhn.hl7v2.parser.CanonicalModelClassFactory;
import ca.uhn.hl7v2.parser.PipeParser;
import ca.uhn.hl7v2.util.Terser;
import ca.uhn.hl7v2.validation.impl.ValidationContextFactory;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** Parses every message of a file and reads the same fields; see README.md for the shared protocol. */
public final class Peer {
  private static final String[] FIELDS = {"MSH-9", "MSH-10", "/.PID-3", "/.PID-5", "/.PID-7", "/.PID-8", "/.PID-11"};
  private static PipeParser parser;

  public static void main(String[] arguments) throws Exception {
    List<String> messages = List.of(
        new String(Files.readAllBytes(Path.of(arguments[0])), StandardCharsets.UTF_8).split("\u001c\r"));
    double seconds = Double.parseDouble(arguments[1]);
    HapiContext context = new DefaultHapiContext();
    context.setModelClassFactory(new CanonicalModelClassFactory("2.5.1"));
    context.setValidationContext(ValidationContextFactory.noValidation());
    parser = context.getPipeParser();
    int failed = 0;
    int found = 0;
    for (String message : messages) {
      if (parse(message)) {
        found += parser.parse(message.substring(1)).toString().split("\rOBX\\|", -1).length - 1;
      } else {
        failed++;
      }
    }
    run(messages, seconds); // warm-up
    System.out.printf(
        "{\"rate\": %.1f, \"failed\": %d, \"obx\": %d}%n", run(messages, seconds), failed, found);
  }

  private static double run(List<String> messages, double seconds) {
    long started = cpu();
    long until = started + (long) (seconds * 1e9);
    long done = 0;
    while (cpu() < until) {
      for (int number = 0; number < messages.size() && cpu() < until; number++) {
        done += parse(messages.get(number)) ? 1 : 0;
      }
    }
    return done / ((cpu() - started) / 1e9);
  }

  private static boolean parse(String text) {
    try {
      Message message = parser.parse(text.substring(1));
      Terser terser = new Terser(message);
      for (String field : FIELDS) {
        terser.get(field);
      }
      return true;
    } catch (HL7Exception error) {
      return false;
    }
  }

  /** CPU time of the whole process in ns, compiler and collector included. */
  private static long cpu() {
    return ((OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean()).getProcessCpuTime();
  }
}
