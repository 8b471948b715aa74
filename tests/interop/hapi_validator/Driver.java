import ca.uhn.fhir.context.FhirContext;
import ca.uhn.fhir.context.support.DefaultProfileValidationSupport;
import ca.uhn.fhir.validation.*;
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.hl7.fhir.common.hapi.validation.support.*;
import org.hl7.fhir.common.hapi.validation.validator.FhirInstanceValidator;
import org.hl7.fhir.instance.model.api.IBaseResource;

/** Lines of: number of definitions, the definitions, the profile's URL, the resource; prints what the validator says. */
public class Driver {
  public static void main(String[] args) throws Exception {
    FhirContext context = FhirContext.forR4();
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, "UTF-8");
    DefaultProfileValidationSupport base = new DefaultProfileValidationSupport(context);
    String line;
    while ((line = in.readLine()) != null) {
      PrePopulatedValidationSupport own = new PrePopulatedValidationSupport(context);
      for (int left = Integer.parseInt(line); left > 0; left--) {
        IBaseResource resource = context.newJsonParser().parseResource(in.readLine());
        own.addResource(resource);
      }
      String profile = in.readLine();
      String body = in.readLine();
      try {
        ValidationSupportChain chain = new ValidationSupportChain(own, base,
            new CommonCodeSystemsTerminologyService(context), new InMemoryTerminologyServerValidationSupport(context),
            new SnapshotGeneratingValidationSupport(context));
        FhirInstanceValidator module = new FhirInstanceValidator(chain);
        module.setAnyExtensionsAllowed(true);
        FhirValidator validator = context.newValidator();
        validator.registerValidatorModule(module);
        ValidationOptions options = new ValidationOptions();
        if (!profile.isEmpty()) options.addProfile(profile);
        ValidationResult result = validator.validateWithResult(body, options);
        for (SingleValidationMessage one : result.getMessages()) {
          out.println(one.getSeverity().getCode() + "\t" + one.getLocationString() + "\t" + one.getMessage().replace('\n', ' '));
        }
      } catch (Throwable error) {
        out.println("fault\t\t" + error.toString().replace('\n', ' '));
      }
      out.println("---");
    }
  }
}
